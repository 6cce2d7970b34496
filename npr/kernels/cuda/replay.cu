// Batches of a replay buffer, see npr/kernels/replay.py. One thread per number that is stored or
// gathered. A row that arrives in this launch is read from `fresh`: another thread writes it.

__device__ real within(real x, real bound) {
  return x < -bound ? -bound : x > bound ? bound : x;  // NaN stays NaN
}

template <typename action_t>
__device__ void gather(
    real *rows, const real *fresh, int start, int count, int capacity, const int *index,
    const int *last, const real *returns, const real *mean, const real *scale,
    const real *reward_scale, int has_returns, int has_mean, int has_reward_scale, real clip,
    real reward_clip, int B, int S, int A, real *s, action_t *a, real *r, real *s2,
    real *terminated) {
  const int width = 2 * S + A + 2;
  const int t = THREAD, stored = count * width;
  if (t < stored) {
    const index_t row = (start + (index_t)(t / width)) % capacity;
    rows[row * width + t % width] = fresh[t];
    return;
  }
  const int i = (t - stored) / width;
  int j = (t - stored) % width;
  if (i >= B) return;
  const index_t row = j > S + A ? last[i] : index[i];
  const index_t age = row >= start ? row - start : row - start + capacity;
  real x = age < count ? fresh[age * width + j] : rows[row * width + j];
  if (j < S || (j > S + A && j < width - 1)) {
    real *out = j < S ? s : s2;
    if (j >= S) j -= S + A + 1;
    out[i * S + j] = has_mean ? within((x - mean[j]) * scale[j], clip) : x;
  } else if (j < S + A) {
    a[i * A + j - S] = (action_t)x;
  } else if (j == S + A) {
    if (has_returns) x = returns[i];
    r[i] = has_reward_scale ? within(x * reward_scale[0], reward_clip) : x;
  } else {
    terminated[i] = x;
  }
}

extern "C" __global__ void gather_indices(
    real *rows, const real *fresh, int start, int count, int capacity, const int *index,
    const int *last, const real *returns, const real *mean, const real *scale,
    const real *reward_scale, int has_returns, int has_mean, int has_reward_scale, real clip,
    real reward_clip, int B, int S, int A, real *s, index_t *a, real *r, real *s2, real *terminated) {
  gather(rows, fresh, start, count, capacity, index, last, returns, mean, scale, reward_scale,
         has_returns, has_mean, has_reward_scale, clip, reward_clip, B, S, A, s, a, r, s2,
         terminated);
}

extern "C" __global__ void gather_numbers(
    real *rows, const real *fresh, int start, int count, int capacity, const int *index,
    const int *last, const real *returns, const real *mean, const real *scale,
    const real *reward_scale, int has_returns, int has_mean, int has_reward_scale, real clip,
    real reward_clip, int B, int S, int A, real *s, real *a, real *r, real *s2, real *terminated) {
  gather(rows, fresh, start, count, capacity, index, last, returns, mean, scale, reward_scale,
         has_returns, has_mean, has_reward_scale, clip, reward_clip, B, S, A, s, a, r, s2,
         terminated);
}
