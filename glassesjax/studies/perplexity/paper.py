"""Table 3 of the paper: perplexities of LLaMA-2-7B on PG-19 by policy and size of the cache.

Source: arXiv 2401.06104v2, windows of 4096 tokens.
"""

SLOTS = (64, 128, 256, 512, 1024, 2048, 4096)
PERPLEXITIES = {
    "short": (17.65, 12.97, 10.39, 8.92, 8.04, 7.50, 7.16),
    "window": (4812.27, 4025.01, 3275.58, 2184.62, 1001.29, 240.17, 7.16),
    "window+1": (10.20, 8.97, 8.22, 7.76, 7.50, 7.33, 7.16),
    "window+4": (10.28, 8.98, 8.19, 7.73, 7.46, 7.30, 7.16),
    "h2o": (10.22, 8.97, 8.21, 7.75, 7.49, 7.32, 7.16),
    "h2o-layer": (10.20, 8.97, 8.22, 7.76, 7.50, 7.33, 7.16),
    "tova-head": (11.13, 9.55, 8.69, 7.90, 7.52, 7.27, 7.16),
    "tova": (9.53, 8.32, 7.71, 7.41, 7.25, 7.17, 7.16),
    "tova+1": (9.53, 8.31, 7.71, 7.41, 7.25, 7.17, 7.16),
    "tova+4": (9.63, 8.33, 7.72, 7.41, 7.25, 7.17, 7.16),
}
"""At each of ``SLOTS``. The row of H2O by layer is printed as that of a window with one sink."""
