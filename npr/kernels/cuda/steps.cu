// Kernels of npr/kernels/steps.py, on vectors of n numbers. Each block of the second kernel of a step
// adds up all parts of the sum of squares, in the same order.

__device__ inline real square_part(const real *g, int n) {
  real sum = 0;
  for (unsigned i = THREAD; i < n; i += THREADS) sum += g[i] * g[i];
  return block_sum(sum);
}

extern "C" __global__ void squares(const real *g, int n, real *parts) {
  const real part = square_part(g, n);
  if (threadIdx.x == 0) parts[blockIdx.x] = part;
}

// Whether a step is made by a gradient with this sum of squares. The first thread of the grid counts
// it: other blocks must not read the counts.
__device__ inline bool made(const real *parts, int count, index_t *counts) {
  const bool finite = isfinite(parts_sum(parts, count));
  if (THREAD == 0) {
    counts[0] += finite;
    counts[1] += !finite;
    counts[2] = finite ? 0 : counts[2] + 1;
  }
  return finite;
}

// work: rate and eps of the next Adam step, with its bias corrections, and the parts. The corrections
// are made here since the blocks of `adam` must not read the counts. 1 - beta^t is
// -expm1(t log(beta)), of which a float has all digits also while t is small.
extern "C" __global__ void adam_squares(const real *g, int n, const index_t *counts,
                                        const real *rate, real log_beta1, real log_beta2, real eps,
                                        real *work) {
  const real part = square_part(g, n);
  if (threadIdx.x == 0) work[2 + blockIdx.x] = part;
  if (THREAD == 0) {
    const real t = counts[0] + 1, correction = sqrt(-expm1(t * log_beta2));
    work[0] = *rate * correction / -expm1(t * log_beta1);
    work[1] = eps * correction;
  }
}

// a, b: 1 - beta1 and 1 - beta2. Averages need no lower limit, as on the host: CuPy compiles with
// -ftz=true, so that denormal float32 numbers become 0, and those of float64 are not slow here.
extern "C" __global__ void adam(real *theta, const real *g, real *m, real *v, int n,
                                index_t *counts, real a, real b, const real *work, int n_parts) {
  if (!made(work + 2, n_parts, counts)) return;
  const real rate = work[0], eps = work[1];
  for (unsigned i = THREAD; i < n; i += THREADS) {
    const real mean = m[i] + a * (g[i] - m[i]), square = v[i] + b * (g[i] * g[i] - v[i]);
    m[i] = mean;
    v[i] = square;
    theta[i] -= rate * mean / (sqrt(square) + eps);
  }
}

// b: 1 - decay
extern "C" __global__ void rmsprop(real *theta, const real *g, real *v, int n, index_t *counts,
                                   const real *rate, real b, real eps, const real *sums,
                                   int n_parts) {
  if (!made(sums, n_parts, counts)) return;
  for (unsigned i = THREAD; i < n; i += THREADS) {
    const real square = v[i] + b * (g[i] * g[i] - v[i]);
    v[i] = square;
    theta[i] -= *rate * g[i] / (sqrt(square) + eps);
  }
}

extern "C" __global__ void sgd(real *theta, const real *g, real *velocity, int n, index_t *counts,
                               const real *rate, real momentum, const real *sums, int n_parts) {
  if (!made(sums, n_parts, counts)) return;
  for (unsigned i = THREAD; i < n; i += THREADS) {
    const real moved = momentum * velocity[i] + g[i];
    velocity[i] = moved;
    theta[i] -= *rate * moved;
  }
}

extern "C" __global__ void polyak(real *theta_bar, const real *theta, int n, real tau) {
  for (unsigned i = THREAD; i < n; i += THREADS) theta_bar[i] += tau * (theta[i] - theta_bar[i]);
}

extern "C" __global__ void clip_norm(real *g, int n, real max_norm, const real *sums, int n_parts) {
  const real square = parts_sum(sums, n_parts), scale = max_norm / (sqrt(square) + real(1e-6));
  if (!isfinite(square) || scale >= 1) return;
  for (unsigned i = THREAD; i < n; i += THREADS) g[i] *= scale;
}
