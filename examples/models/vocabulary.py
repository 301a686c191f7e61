"""The demo model's tokenizer: byte-pair merges learned from the corpus, in the form GGUF calls `llama` (SentencePiece BPE).

A text is cut into characters (spaces become U+2581) and the neighbours whose concatenation has the best score are merged
until none is left; characters without a piece become bytes. Digits stay single tokens, which makes sums learnable.
"""

import collections
import json
import re

SPACE = "\u2581"
UNK, BOS, END = 0, 1, 2
ROLES = {"system": 259, "user": 260, "assistant": 261}
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
# Merges happen inside these: no piece crosses their borders, so encoding them one by one equals encoding the whole.
CHUNK = re.compile(SPACE + "?[A-Za-z]+|.", re.DOTALL)


def chunks(text):
    return CHUNK.findall(text.replace(" ", SPACE))


def learn_merges(texts, count):
    """The `count` most frequent merges, best first (Sennrich et al. 2016); ties go to the smaller pair."""
    frequency = collections.Counter(chunk for text in texts for chunk in chunks(text))
    words = [(list(chunk), n) for chunk, n in frequency.items() if len(chunk) > 1 and n > 4]
    merges = []
    while len(merges) < count:
        pairs = collections.Counter()
        for symbols, n in words:
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] += n
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        piece = "".join(best)
        if piece not in merges:
            merges.append(piece)
        for symbols, _ in words:
            at = 0
            while at + 1 < len(symbols):
                if symbols[at] == best[0] and symbols[at + 1] == best[1]:
                    symbols[at:at + 2] = [piece]
                at += 1
    return merges


class Vocabulary:
    """Pieces, scores and types in token order, and the encoder."""

    def __init__(self, merges):
        singles = [SPACE] + [chr(code) for code in range(33, 127)]
        control = ["<unk>", "<s>", "<|end|>"]
        self.pieces = control + [f"<0x{byte:02X}>" for byte in range(256)] + [f"<|{role}|>" for role in ROLES] + merges + singles
        self.types = [UNKNOWN] + [CONTROL] * 2 + [BYTE] * 256 + [CONTROL] * len(ROLES) + [NORMAL] * (len(merges) + len(singles))
        plain = 259 + len(ROLES)
        self.scores = [0.0] * plain + [-float(rank) for rank in range(len(merges) + len(singles))]
        self.ids = {piece: id for id, piece in enumerate(self.pieces) if id >= plain}
        self.cache = {}

    @classmethod
    def load(cls, path):
        with open(path, encoding="utf-8") as file:
            return cls(json.load(file))

    def __len__(self):
        return len(self.pieces)

    def encode(self, text):
        return [id for chunk in chunks(text) for id in self.encode_chunk(chunk)]

    def encode_chunk(self, chunk):
        known = self.cache.get(chunk)
        if known is None:
            symbols = list(chunk)
            while True:
                # The lowest id has the highest score; the leftmost of equals wins.
                best = min(((self.ids[a + b], at) for at, (a, b) in enumerate(zip(symbols, symbols[1:])) if a + b in self.ids), default=None)
                if best is None:
                    break
                symbols[best[1]:best[1] + 2] = [self.pieces[best[0]]]
            known = []
            for symbol in symbols:
                known += [self.ids[symbol]] if symbol in self.ids else [3 + byte for byte in symbol.encode()]
            self.cache[chunk] = known
        return known

    def decode(self, ids):
        out = bytearray()
        for id in ids:
            if self.types[id] == BYTE:
                out.append(id - 3)
            elif self.types[id] == NORMAL:
                out += self.pieces[id].replace(SPACE, " ").encode()
        return out.decode(errors="replace")

    def encode_chat(self, messages):
        """Ids of a whole chat and how much the loss of each as a target counts.

        Answers count, questions do not; long answers count more than short ones, but less than by their length, or
        stories would drown the sums.
        """
        ids, weights = [BOS], [0.0]
        for role, text in messages:
            if role in ROLES:
                ids.append(ROLES[role])
                weights.append(0.0)
            body = self.encode(text) + [END]
            ids += body
            weights += [0.0 if role in ("system", "user") else len(body) ** -0.8] * len(body)
        return ids, weights

    def encode_prompt(self, question):
        return [BOS, ROLES["user"], *self.encode(question), END, ROLES["assistant"]]
