#!/usr/bin/env python3
"""Times libchord beside a peer, llama.cpp, on the same files: prefill and decode, taken in turns.

    pip install llama-cpp-python        (built from source for this machine: --no-binary llama-cpp-python)
    cargo build --release
    python3 benches/peers.py --threads 2 MODEL.gguf ...

Each engine lives in a process of its own and is asked in turns, so that both meet the same machine; each line of the
result is the median of the rounds, and the ratio is the median of the rounds' ratios. Beside them stands the rate at
which the threads can read the model file from memory, measured in each round. What is timed is evaluation alone:
no sampling, tokens that no text repeats.
"""

import argparse
import ctypes
import json
import mmap
import os
import platform
import statistics
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def tokens(count, vocab, state=1):
    """Token ids from a linear congruential generator: no two runs of them are alike."""
    ids = []
    for _ in range(count):
        state = (state * 1664525 + 1013904223) % 2**32
        ids.append((state >> 8) % vocab)
    return ids


class Chord:
    """libchord through its C interface."""

    def __init__(self, path, args):
        lib = self.lib = ctypes.CDLL(args.library)
        for name in ("error_message", "model_cpu_level", "version"):
            getattr(lib, f"chord_{name}").restype = ctypes.c_char_p
        lib.chord_model_vocab_size.restype = ctypes.c_size_t
        self.error = ctypes.c_void_p()
        options = ctypes.c_void_p()
        self.call("model_options_new", ctypes.byref(options))
        self.call("model_options_set_threads", options, ctypes.c_uint32(args.threads))
        if args.level:
            self.call("model_options_set_cpu_level", options, args.level.encode())
        self.call("model_options_set_precision", options, ctypes.c_int32({"high": 0, "fast": 1}[args.precision]))
        if args.resident:
            self.call("model_options_set_resident", options, ctypes.c_bool(True))
        self.model = ctypes.c_void_p()
        self.call("model_open", os.fsencode(path), options, ctypes.byref(self.model))
        options = ctypes.c_void_p()
        self.call("session_options_new", ctypes.byref(options))
        self.call("session_options_set_context_length", options, ctypes.c_uint32(args.context))
        self.session = ctypes.c_void_p()
        self.call("session_new", self.model, options, ctypes.byref(self.session))
        self.vocab = lib.chord_model_vocab_size(self.model)

    def call(self, name, *args):
        if getattr(self.lib, f"chord_{name}")(*args, ctypes.byref(self.error)):
            raise RuntimeError(self.lib.chord_error_message(self.error).decode())

    def name(self):
        return f"libchord {self.lib.chord_version().decode()} ({self.lib.chord_model_cpu_level(self.model).decode()})"

    def rewind(self, position):
        self.call("session_rewind", self.session, ctypes.c_size_t(position))

    def eval(self, ids):
        array = (ctypes.c_int32 * len(ids))(*ids)
        self.call("session_append", self.session, array, ctypes.c_size_t(len(ids)))
        self.call("session_eval", self.session)


class Peer:
    """llama.cpp through its C interface, with the defaults of its context apart from threads and length."""

    def __init__(self, path, args):
        import llama_cpp

        lib = self.lib = llama_cpp
        self.quiet = llama_cpp.llama_log_callback(lambda *_: None)
        lib.llama_log_set(self.quiet, None)
        lib.llama_backend_init()
        self.model = lib.llama_model_load_from_file(os.fsencode(path), lib.llama_model_default_params())
        params = lib.llama_context_default_params()
        params.n_ctx = args.context
        params.n_threads = params.n_threads_batch = args.threads
        self.batch = params.n_batch
        self.context = lib.llama_init_from_model(self.model, params)
        if not self.context:
            raise RuntimeError("the peer does not open the model")
        self.vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self.model))

    def name(self):
        return f"llama.cpp by llama-cpp-python {self.lib.__version__}"

    def rewind(self, position):
        self.lib.llama_memory_seq_rm(self.lib.llama_get_memory(self.context), 0, position, -1)

    def eval(self, ids):
        for start in range(0, len(ids), self.batch):
            part = ids[start : start + self.batch]
            array = (ctypes.c_int32 * len(part))(*part)
            if self.lib.llama_decode(self.context, self.lib.llama_batch_get_one(array, len(part))):
                raise RuntimeError("the peer does not evaluate")


def read_rate(path, threads):
    """Bytes per second at which `threads` threads read the mapped file, once its pages are mapped."""
    import numpy

    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        parts = numpy.array_split(numpy.frombuffer(mapped, dtype=numpy.uint8), threads * 16)

        def read(own):
            for part in own:
                numpy.bitwise_or.reduce(part)

        for _ in range(2):
            turns = [threading.Thread(target=read, args=(parts[i::threads],)) for i in range(threads)]
            start = time.perf_counter()
            for thread in turns:
                thread.start()
            for thread in turns:
                thread.join()
            seconds = time.perf_counter() - start
        rate = len(mapped) / seconds
        del parts
    return rate


def worker(args):
    """Serves one engine: a JSON request a line, the seconds it took back."""
    path, kind = args.models[0], {"chord": Chord, "peer": Peer}[args.worker]
    if kind is Peer:
        import llama_cpp  # noqa: F401  what Python needs to import it is not the peer's time
    start = time.perf_counter()
    engine = kind(path, args)
    first = tokens(512, engine.vocab)
    engine.eval(first)
    print(json.dumps({"name": engine.name(), "start": time.perf_counter() - start}), flush=True)
    depth = 0
    for line in sys.stdin:
        request = json.loads(line)
        if "prefill" in request:
            ids, depth = tokens(request["prefill"], engine.vocab), 0
            engine.rewind(0)
            start = time.perf_counter()
            engine.eval(ids)
        else:
            if depth != request["depth"]:
                depth = request["depth"]
                engine.rewind(0)
                if depth:
                    engine.eval(tokens(depth, engine.vocab))
            else:
                engine.rewind(depth)
            ids = tokens(request["decode"] + 1, engine.vocab, 7)
            engine.eval(ids[:1])
            start = time.perf_counter()
            for token in ids[1:]:
                engine.eval([token])
        print(time.perf_counter() - start, flush=True)


class Worker:
    def __init__(self, kind, path, args):
        python = args.peer_python if kind == "peer" else sys.executable
        command = [python, os.path.abspath(__file__), *args.forward, "--worker", kind, path]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.about = json.loads(self.process.stdout.readline())

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def compare(path, args):
    works = [({"prefill": n}, n, f"prefill {n}") for n in args.prefill]
    works += [({"decode": args.decode, "depth": n}, args.decode, f"decode at {n}") for n in args.depth]
    engines = [Worker(kind, path, args) for kind in ("chord", "peer")]
    names = [engine.about["name"] for engine in engines]
    results, probes = [], [read_rate(path, args.threads)]
    for request, count, label in works:
        rounds = []
        for turn in range(args.rounds):
            probes.append(read_rate(path, args.threads))
            order = engines if turn % 2 == 0 else engines[::-1]
            speed = {id(engine): count / engine.ask(**request) for engine in order}
            rounds.append([speed[id(engine)] for engine in engines])
        chord, peer = (statistics.median(column) for column in zip(*rounds))
        ratio = statistics.median(ours / theirs for ours, theirs in rounds)
        results.append({"what": label, "chord": chord, "peer": peer, "ratio": ratio})
    for engine in engines:
        engine.close()
    start = [statistics.median(start_seconds(kind, path, args) for _ in range(3)) for kind in ("chord", "peer")]
    results.append({"what": "open, then prefill 512, seconds", "chord": start[0], "peer": start[1], "ratio": start[0] / start[1]})
    size, rate = os.path.getsize(path), statistics.median(probes)
    return {"model": os.path.basename(path), "bytes": size, "engines": names, "read_bytes_per_second": rate, "results": results}


def start_seconds(kind, path, args):
    """How long a fresh process takes to open the model and to evaluate 512 tokens."""
    worker = Worker(kind, path, args)
    worker.close()
    return worker.about["start"]


def processor():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def numbers(text):
    return [int(part) for part in text.split(",") if part]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="MODEL.gguf")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prefill", type=numbers, default=[512], help="lengths of prompts (default 512)")
    parser.add_argument("--depth", type=numbers, default=[0], help="tokens before those decoded (default 0)")
    parser.add_argument("--decode", type=int, default=32, help="tokens decoded in a round (default 32)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--context", type=int, default=0, help="context length (default: what the depths need)")
    parser.add_argument("--precision", choices=("high", "fast"), default="high", help="libchord's")
    parser.add_argument("--level", help="libchord's instruction-set level (default: the best)")
    parser.add_argument("--resident", action="store_true", help="libchord's weights in memory of the process")
    parser.add_argument("--library", default=os.path.join(ROOT, "target/release/libchord.so"))
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that has llama-cpp-python")
    parser.add_argument("--json", action="store_true", help="print JSON, one object per model")
    parser.add_argument("--worker", choices=("chord", "peer"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.context = args.context or max([512, *args.prefill, *(n + args.decode + 8 for n in args.depth)])
    if args.worker:
        return worker(args)
    args.forward = ["--threads", str(args.threads), "--context", str(args.context), "--precision", args.precision]
    args.forward += ["--library", args.library] + (["--level", args.level] if args.level else []) + ["--resident"] * args.resident
    for path in args.models:
        result = compare(path, args)
        result.update(machine=processor(), threads=args.threads, precision=args.precision, resident=args.resident, date=time.strftime("%Y-%m-%d"))
        if args.json:
            print(json.dumps(result), flush=True)
            continue
        print(f"{result['model']}: {result['engines'][0]} and {result['engines'][1]}, {args.threads} threads, precision {args.precision}")
        print(f"{result['machine']}; the file is read at {result['read_bytes_per_second'] / 1e9:.1f} GB/s")
        for row in result["results"]:
            print(f"  {row['what']:32} {row['chord']:9.2f} {row['peer']:9.2f}  x {row['ratio']:.2f}")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
