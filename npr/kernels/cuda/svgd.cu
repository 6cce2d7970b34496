// Kernels of npr/kernels/svgd.py: fixed, score (B, K, D), updated, direction (B, L, D), h (B,).
// Neither stores the differences of all pairs of particles, (B, K, L, D).

__device__ inline real square_distance(const real *x, const real *y, int D) {
  real total = 0;
  for (int d = 0; d < D; d++) total += (x[d] - y[d]) * (x[d] - y[d]);
  return total;
}

// An unsigned integer of real's bits: of numbers >= 0, both have the same order.
template <int size> struct Bits;
template <> struct Bits<4> { typedef unsigned type; };
template <> struct Bits<8> { typedef unsigned long long type; };
typedef Bits<sizeof(real)>::type bits_t;
union Number {
  real value;
  bits_t bits;
};

#define BINS 256    // and threads
#define COPIES 8    // of the counts: most distances share their first bits, so that threads wait
#define STORED 1024 // distances that are computed once

// h: the lower median of the n = K L squared distances / log K. A block per batch entry finds it digit
// by digit, from the first eight bits: how many distances have the digits found so far and each
// next one. Counting gives the same result in any order.
extern "C" __global__ void bandwidth(const real *fixed, const real *updated, real *h, int n, int L,
                                     int D, real log_K, real least) {
  const unsigned t = threadIdx.x;
  fixed += index_t(blockIdx.x) * (n / L) * D;
  updated += index_t(blockIdx.x) * L * D;
  __shared__ real stored[STORED];
  __shared__ unsigned counts[COPIES][BINS], sums[BINS], digit, below, bad;
  if (t == 0) bad = 0;
  __syncthreads();
  for (unsigned i = t; i < n; i += BINS) {
    Number square;
    square.value = square_distance(fixed + index_t(i / L) * D, updated + index_t(i % L) * D, D);
    if (!isfinite(square.value)) atomicAdd(&bad, 1u);
    if (n <= STORED) stored[i] = square.value;
  }
  __syncthreads();
  if (bad) {  // a median would ignore them
    if (t == 0) h[blockIdx.x] = real(nan(""));
    return;
  }
  unsigned rank = (n - 1u) / 2;  // of the median, among those with the digits found so far
  Number median;
  median.bits = 0;
  for (int shift = 8 * (sizeof(real) - 1); shift >= 0; shift -= 8) {
    for (int copy = 0; copy < COPIES; copy++) counts[copy][t] = 0;
    __syncthreads();
    for (unsigned i = t; i < n; i += BINS) {
      Number square;
      square.value = n <= STORED ? stored[i]
                                 : square_distance(fixed + index_t(i / L) * D,
                                                   updated + index_t(i % L) * D, D);
      const bits_t digits = square.bits >> shift;
      if (digits >> 8 == median.bits) atomicAdd(&counts[t % COPIES][digits % BINS], 1u);
    }
    __syncthreads();
    unsigned own = 0;
    for (int copy = 0; copy < COPIES; copy++) own += counts[copy][t];
    sums[t] = own;
    __syncthreads();
    for (unsigned step = 1; step < BINS; step *= 2) {  // sums of all bins up to this one
      const unsigned more = t >= step ? sums[t - step] : 0;
      __syncthreads();
      sums[t] += more;
      __syncthreads();
    }
    if (sums[t] - own <= rank && rank < sums[t]) {
      digit = t;
      below = sums[t] - own;
    }
    __syncthreads();
    rank -= below;
    median.bits = median.bits << 8 | digit;
  }
  const real wanted = median.value / log_K;
  if (t == 0) h[blockIdx.x] = wanted > least ? wanted : least;
}

#define TILE 128 // particles whose kernel is held at a time, and at most so many threads

// A block per updated particle. For each tile of fixed particles, first a thread computes the kernel of
// one; then the threads are `parts` rows of D, each of which adds up every parts-th particle.
extern "C" __global__ void direction(const real *fixed, const real *updated, const real *score,
                                     const real *h, real *result, int K, int L, int D) {
  const int t = threadIdx.x, threads = blockDim.x;
  const index_t batch = blockIdx.x / L;
  fixed += batch * K * D;
  score += batch * K * D;
  updated += index_t(blockIdx.x) * D;
  result += index_t(blockIdx.x) * D;
  const real width = h[batch];
  __shared__ real kernel[TILE], sums[TILE];
  for (int begin = 0; begin < D; begin += threads) {  // more than one round only for huge D
    const int columns = D - begin < threads ? D - begin : threads;
    const int parts = threads / columns, part = t / columns, d = begin + t % columns;
    real total = 0;
    for (int first = 0; first < K; first += threads) {
      const int n = K - first < threads ? K - first : threads;
      if (t < n)
        kernel[t] = exp(-square_distance(fixed + index_t(first + t) * D, updated, D) / width);
      __syncthreads();
      if (part < parts) {
        for (int j = part; j < n; j += parts) {
          const index_t at = index_t(first + j) * D + d;
          total += kernel[j] * (score[at] - 2 * (fixed[at] - updated[d]) / width);
        }
      }
      __syncthreads();
    }
    sums[t] = total;
    __syncthreads();
    if (t < columns) {
      for (int other = 1; other < parts; other++) total += sums[t + other * columns];
      result[d] = total / K;
    }
    __syncthreads();
  }
}
