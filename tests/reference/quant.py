"""What src/quant takes from, and holds against, the reference dequantizer: the Python package `gguf` (0.19).

    python tests/reference/quant.py digests      the table DIGESTS of src/quant/tests.rs
    python tests/reference/quant.py codewords    the bitmaps of src/quant/codewords.rs
"""

import sys

import numpy
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

BLOCKS = 16

# Bytes with the exponent of a float; it is kept below 2, so that nothing is infinite.
EXPONENTS = {
    "F32": [3], "Q8_K": [3], "MXFP4": [], "NVFP4": [], "IQ1_M": [55],
    "Q4_1": [1, 3], "Q5_1": [1, 3], "Q4_K": [1, 3], "Q5_K": [1, 3],
    "Q2_K": [81, 83], "Q3_K": [109], "Q6_K": [209], "TQ1_0": [53], "TQ2_0": [65],
}  # fmt: skip


def sample(name: str, size: int) -> numpy.ndarray:
    """Blocks of reproducible bytes: the upper bytes of Knuth's generator MMIX."""
    state, data = 1, bytearray()
    for _ in range(BLOCKS * size):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        data.append(state >> 56)
    for block in range(BLOCKS):
        for at in EXPONENTS.get(name, [1]):
            data[block * size + at] &= 0xBF
    return numpy.frombuffer(bytes(data), numpy.uint8).reshape(BLOCKS, size)


def fnv(data: bytes) -> int:
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def digests() -> None:
    names = "BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS TQ1_0 TQ2_0 MXFP4"
    names += " IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ1_S IQ1_M NVFP4"
    for name in names.split():
        kind = GGMLQuantizationType[name]
        weights = quants.dequantize(sample(name, GGML_QUANT_SIZES[kind][1]), kind)
        print(f"    (Dtype::{name}, {fnv(weights.astype('<f4').tobytes()):#018x}),")


def codewords() -> None:
    for name in "IQ1_S IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S".split():
        kind = getattr(quants, name)
        kind.init_grid()
        base = len(kind.grid_map)
        digits = numpy.searchsorted(kind.grid_map, kind.grid.reshape(kind.grid_shape))
        numbers = digits @ base ** numpy.arange(digits.shape[1])
        assert (numpy.diff(numbers) > 0).all(), "codewords are numbered in ascending order"
        bitmap = sum(1 << int(number) for number in numbers)
        words = [bitmap >> 128 * i & 2**128 - 1 for i in range(-(-(base ** digits.shape[1]) // 128))]
        print(f"{name}: {len(numbers)} words of {digits.shape[1]} digits, levels {kind.grid_map}")
        print("\n".join(f"    {word:#034x}," for word in words))


if __name__ == "__main__":
    {"digests": digests, "codewords": codewords}[sys.argv[1]]()
