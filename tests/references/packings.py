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
