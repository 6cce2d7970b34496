// Rows of columns, see npr/kernels/rows.py. One thread per word.

extern "C" __global__ void take_rows(
    const unsigned *block, const index_t *index, const index_t *start, const index_t *width,
    unsigned *out, int n, int B, int W) {
    const index_t t = THREAD;
    if (t >= (index_t)B * W) return;
    const index_t row = t / W, at = t % W;
    const index_t first = start[at], words = width[at], word = at - first;
    out[B * first + row * words + word] = block[n * first + index[row] * words + word];
}
