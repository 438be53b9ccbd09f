"""GPTQ's and AWQ's layouts as their documentation describes them, one code at a time."""

import numpy as np


def put(words: np.ndarray, position: int, bits: int, code: int) -> None:
    """Write a code at a bit position of a row of 32-bit words, lowest bit first, across words where it must."""
    for bit in range(bits):
        word, place = divmod(position + bit, 32)
        words[word] |= ((code >> bit) & 1) << place


def gptq(codes: np.ndarray, zeros: np.ndarray, bits: int, less_one: bool) -> tuple[np.ndarray, np.ndarray]:
    """AutoGPTQ: codes (inputs, outputs) packed down the inputs, zero points (groups, outputs) along the outputs."""
    inputs, outputs = codes.shape
    weight = np.zeros((inputs * bits // 32, outputs), dtype=np.int64)
    for column in range(outputs):
        for row in range(inputs):
            put(weight[:, column], row * bits, bits, int(codes[row, column]))
    points = np.zeros((zeros.shape[0], outputs * bits // 32), dtype=np.int64)
    for group in range(zeros.shape[0]):
        for column in range(outputs):
            put(points[group], column * bits, bits, (int(zeros[group, column]) - less_one) % 2**bits)
    return weight.astype(np.uint32).view(np.int32), points.astype(np.uint32).view(np.int32)


def gptq_zero_points_in_one_subtraction(zeros: np.ndarray, bits: int) -> np.ndarray:
    """GPTQModel, checkpoint_format "gptq": a word as one number, less 1 in each of its fields, modulo 2³²."""
    plain = gptq(np.zeros((32, zeros.shape[1]), dtype=int), zeros, bits, less_one=False)[1]
    ones = sum(1 << place for place in range(0, 32, bits))
    words = [[(int(word) - ones) % 2**32 for word in row] for row in plain.view(np.uint32)]
    return np.array(words, dtype=np.uint32).view(np.int32)


def awq(codes: np.ndarray) -> np.ndarray:
    """AutoAWQ: eight consecutive outputs in a word, the i-th four bits hold output 0, 2, 4, 6, 1, 3, 5, 7."""
    rows, columns = codes.shape
    words = np.zeros((rows, columns // 8), dtype=np.int64)
    for row in range(rows):
        for word in range(columns // 8):
            for place, output in enumerate([0, 2, 4, 6, 1, 3, 5, 7]):
                words[row, word] |= int(codes[row, word * 8 + output]) << (4 * place)
    return words.astype(np.uint32).view(np.int32)


def dequantised(codes: np.ndarray, zeros: np.ndarray, scales: np.ndarray, group_of: np.ndarray) -> np.ndarray:
    """(code − zero point)·scale in the type of the scales, outputs × inputs."""
    inputs, outputs = codes.shape
    found = np.zeros((outputs, inputs), dtype=scales.dtype)
    for row in range(inputs):
        for column in range(outputs):
            group = group_of[row]
            step = scales.dtype.type(int(codes[row, column]) - int(zeros[group, column]))
            found[column, row] = step * scales[group, column]
    return found
