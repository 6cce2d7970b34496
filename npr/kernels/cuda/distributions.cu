// Kernels of npr/heads/device.py. A row of `out` has the parameters of one distribution over D
// numbers or bits, see there; a row is worked on by `lanes` threads. Of rows whose cotangent g is 0,
// all cotangents are 0, even if their outputs are not finite.
#define ROW                          \
  const index_t row = row_of(lanes); \
  const int lane = lane_of(lanes);   \
  if (row >= B) return

#define HALF_LOG_2PI real(0.91893853320467274178)

// ---- independent normal distributions: out (B, 2 D), a (B, D)

extern "C" __global__ void gaussian_log_prob(const real *out, const real *a, real *logp, int B,
                                             int D, int lanes) {
  ROW;
  const real *mean = out + row * 2 * D, *log_std = mean + D;
  real total = 0;
  for (int j = lane; j < D; j += lanes) {
    const real z = (a[row * D + j] - mean[j]) * exp(-log_std[j]);
    total -= real(0.5) * z * z + log_std[j] + HALF_LOG_2PI;
  }
  total = row_sum(total, lanes);
  if (lane == 0) logp[row] = total;
}

extern "C" __global__ void gaussian_log_prob_backward(const real *out, const real *a, const real *g,
                                                      real *dout, int B, int D, int lanes) {
  ROW;
  const index_t first = row * 2 * D;
  for (int j = lane; j < D; j += lanes) {
    const real inverse = exp(-out[first + D + j]);
    const real z = (a[row * D + j] - out[first + j]) * inverse;
    dout[first + j] = g[row] == 0 ? real(0) : g[row] * z * inverse;
    dout[first + D + j] = g[row] == 0 ? real(0) : g[row] * (z * z - 1);
  }
}

extern "C" __global__ void gaussian_entropy(const real *out, real *H, int B, int D, int lanes) {
  ROW;
  real total = 0;
  for (int j = lane; j < D; j += lanes)
    total += out[row * 2 * D + D + j] + (HALF_LOG_2PI + real(0.5));
  total = row_sum(total, lanes);
  if (lane == 0) H[row] = total;
}

extern "C" __global__ void gaussian_entropy_backward(const real *out, const real *g, real *dout,
                                                     int B, int D, int lanes) {
  ROW;
  for (int j = lane; j < 2 * D; j += lanes) dout[row * 2 * D + j] = j < D ? real(0) : g[row];
}

extern "C" __global__ void gaussian_kl(const real *out, const real *other, real *kl, int B, int D,
                                       int lanes) {
  ROW;
  real total = 0;
  for (int j = lane; j < D; j += lanes) {
    const index_t mean = row * 2 * D + j, log_std = mean + D;
    const real difference = out[log_std] - other[log_std], ratio = exp(2 * difference);
    const real z = (out[mean] - other[mean]) * exp(-other[log_std]);
    total += real(0.5) * (ratio + z * z - 1) - difference;
  }
  total = row_sum(total, lanes);
  if (lane == 0) kl[row] = total;
}

extern "C" __global__ void gaussian_kl_backward(const real *out, const real *other, const real *g,
                                                real *dout, real *dother, int B, int D, int lanes) {
  ROW;
  for (int j = lane; j < D; j += lanes) {
    const index_t mean = row * 2 * D + j, log_std = mean + D;
    const real inverse = exp(-other[log_std]), ratio = exp(2 * (out[log_std] - other[log_std]));
    const real z = (out[mean] - other[mean]) * inverse;
    const bool used = g[row] != 0;
    dout[mean] = used ? g[row] * z * inverse : real(0);
    dother[mean] = -dout[mean];
    dout[log_std] = used ? g[row] * (ratio - 1) : real(0);
    dother[log_std] = used ? g[row] * (1 - ratio - z * z) : real(0);
  }
}

// ---- tanh of a number: log d tanh(u) / du, see npr.heads.log_slope

__device__ inline real softplus(real x) {
  return (x > 0 ? x : real(0)) + log1p(exp(-fabs(x)));  // NaN stays NaN
}

extern "C" __global__ void log_slope(const real *u, real *y, int n) {
  const index_t i = THREAD;
  if (i < n) y[i] = 2 * (real(0.69314718055994530942) - u[i] - softplus(-2 * u[i]));
}

extern "C" __global__ void log_slope_backward(const real *u, const real *g, real *du, int n) {
  const index_t i = THREAD;
  if (i < n) du[i] = g[i] == 0 ? real(0) : -2 * g[i] * tanh(u[i]);
}

// ---- independent bits: out (B, D) the log odds of a 1, a (B, D)

__device__ inline real sigmoid(real x) { return exp(-softplus(-x)); }

// p times -log q for the log odds of p and q; 0 log 0 = 0
__device__ inline real cross(real x, real y) {
  const real p = sigmoid(x);
  return p == 0 ? real(0) : p * softplus(-y);
}

extern "C" __global__ void bernoulli_log_prob(const real *out, const index_t *a, real *logp, int B,
                                              int D, int lanes) {
  ROW;
  real total = 0;
  for (int j = lane; j < D; j += lanes) {
    const real x = out[row * D + j];
    total -= softplus(real(1 - 2 * a[row * D + j]) * x);
  }
  total = row_sum(total, lanes);
  if (lane == 0) logp[row] = total;
}

extern "C" __global__ void bernoulli_log_prob_backward(const real *out, const index_t *a,
                                                       const real *g, real *dout, int B, int D,
                                                       int lanes) {
  ROW;
  for (int j = lane; j < D; j += lanes) {
    const index_t n = row * D + j;
    const real sign = real(1 - 2 * a[n]);
    dout[n] = g[row] == 0 ? real(0) : -g[row] * sign * sigmoid(sign * out[n]);
  }
}

extern "C" __global__ void bernoulli_entropy(const real *out, real *H, int B, int D, int lanes) {
  ROW;
  real total = 0;
  for (int j = lane; j < D; j += lanes) {
    const real x = out[row * D + j];
    total += cross(x, x) + cross(-x, -x);
  }
  total = row_sum(total, lanes);
  if (lane == 0) H[row] = total;
}

extern "C" __global__ void bernoulli_entropy_backward(const real *out, const real *g, real *dout,
                                                      int B, int D, int lanes) {
  ROW;
  for (int j = lane; j < D; j += lanes) {
    const index_t n = row * D + j;
    const real x = out[n], slope = sigmoid(x) * sigmoid(-x);
    dout[n] = g[row] == 0 || slope == 0 ? real(0) : -g[row] * x * slope;
  }
}

extern "C" __global__ void bernoulli_kl(const real *out, const real *other, real *kl, int B, int D,
                                        int lanes) {
  ROW;
  real total = 0;
  for (int j = lane; j < D; j += lanes) {
    const real x = out[row * D + j], y = other[row * D + j];
    // the same number twice, even an infinite one, has no divergence
    const real one = sigmoid(x) == 0 ? real(0) : sigmoid(x) * (softplus(-y) - softplus(-x));
    const real zero = sigmoid(-x) == 0 ? real(0) : sigmoid(-x) * (softplus(y) - softplus(x));
    total += one + zero;
  }
  total = row_sum(total, lanes);
  if (lane == 0) kl[row] = total;
}

extern "C" __global__ void bernoulli_kl_backward(const real *out, const real *other, const real *g,
                                                 real *dout, real *dother, int B, int D, int lanes) {
  ROW;
  for (int j = lane; j < D; j += lanes) {
    const index_t n = row * D + j;
    const real x = out[n], y = other[n], slope = sigmoid(x) * sigmoid(-x);
    dout[n] = g[row] == 0 || slope == 0 ? real(0) : g[row] * (x - y) * slope;
    dother[n] = g[row] == 0 ? real(0) : g[row] * (sigmoid(y) - sigmoid(x));
  }
}
