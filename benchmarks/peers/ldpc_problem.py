"""Parity checks with the C++ decoder of the ldpc package: messages per second, as JSON. Run by ../engine.py."""

import json
import resource
import sys
import time

import numpy as np
from ldpc import BpDecoder
from scipy import sparse


def main(path):
    data = dict(np.load(path))
    iterations, bits = int(data["iterations"]), data["received"].size
    start = time.perf_counter()
    checks = np.repeat(np.arange(len(data["scopes"])), data["scopes"].shape[1])
    matrix = sparse.csr_matrix(
        (np.ones(checks.size, dtype=np.uint8), (checks, data["scopes"].ravel())), shape=(len(data["scopes"]), bits)
    )
    decoder = BpDecoder(
        matrix,
        error_rate=float(data["flip"]),
        max_iter=iterations,
        bp_method="product_sum",
        input_vector_type="received_vector",
    )
    built = time.perf_counter() - start
    word = data["received"].astype(np.uint8)
    first, seconds = 0.0, []
    for _ in range(3):
        begin = time.perf_counter()
        decoded = decoder.decode(word)
        seconds.append(time.perf_counter() - begin)
        first = first or time.perf_counter() - start
    assert decoder.iter == iterations, "the decoder stopped early"
    print(
        json.dumps(
            {
                "rate": data["scopes"].size * iterations / min(seconds),
                "build": built,
                "first": first,
                "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "answer": np.asarray(decoded)[:2000].tolist(),
            }
        )
    )


main(sys.argv[1])
