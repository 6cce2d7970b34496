// Kernels of npr/kernels/mlp.py. theta (rows, stride) has a network in each row; a layer is W
// (n, m), then b (m,), from column `start` on: together a matrix (n + 1, m). B is the size of the
// batch.
//
// A block computes one tile of a product of matrices, in a fixed order of its sums.

// In the order of npr.kernels.mlp.ACTIVATIONS; PRODUCT is none of them: the bias is not added.
enum { RELU, TANH, ELU, IDENTITY, PRODUCT };

__device__ real activate(real z, int activation) {
  if (activation == RELU) return z < 0 ? real(0) : z;  // NaN stays NaN
  if (activation == TANH) return tanh(z);
  if (activation == ELU) return z > 0 ? z : expm1(z);
  return z;
}

// The derivative of an activation, from its value y.
__device__ real slope(real y, int activation) {
  if (activation == RELU) return y > 0 ? real(1) : real(0);
  if (activation == TANH) return 1 - y * y;
  if (activation == ELU) return y > 0 ? real(1) : y + 1;
  return 1;
}

// ---- products

// A tile has SIZE x SIZE results, of which a thread computes DOWN x ACROSS; DEPTH terms of the sums
// are held in shared memory at a time. Small tiles give more blocks, large ones read memory less.
struct Small {
  enum { SIZE = 32, DEPTH = 32, DOWN = 2, ACROSS = 4, BLOCK = 128 };
};
struct Large {
  enum { SIZE = 64, DEPTH = 16, DOWN = 4, ACROSS = 4, BLOCK = 256 };
};

// Shared memory for both operands. With 4 more columns, the threads of a warp write to different
// banks, and rows stay aligned to 16 bytes, so that a thread reads several entries at once.
template <class Tile>
struct alignas(16) Shared {
  real left[Tile::DEPTH][Tile::SIZE + 4], right[Tile::DEPTH][Tile::SIZE + 4];
};

// An operand: a matrix (K, width), of which column x is for row (left) or column (right) x of the
// result. Entry (k, x) is at[k * pitch + x], or at[x * pitch + k] if it is transposed.
//
// ones   column x = width is of ones
template <class Tile, bool transposed, bool ones = false>
struct Operand {
  enum { COUNT = Tile::SIZE * Tile::DEPTH / Tile::BLOCK };
  const real *at;  // the next tile
  int pitch, width;
  real held[COUNT];  // entries of the next tile

  // Go on k rows and x columns further.
  __device__ void move(int k, int x) {
    at += transposed ? index_t(x) * pitch + k : index_t(k) * pitch + x;
    width -= x;
  }

  // The place in a tile of a thread's entry number p: warps read rows of memory, or if it is
  // transposed, 8 entries of each of 4 rows.
  __device__ static void place(int p, int &k, int &x) {
    const unsigned e = threadIdx.x + p * Tile::BLOCK, warp = e / 32, lane = e % 32;
    k = transposed ? warp % (Tile::DEPTH / 8) * 8 + lane % 8 : e / Tile::SIZE;
    x = transposed ? warp / (Tile::DEPTH / 8) * 4 + lane / 8 : e % Tile::SIZE;
  }

  // Read a tile of K rows, or as many as it has; zeros where there is no entry.
  __device__ void load(int K) {
#pragma unroll
    for (int p = 0; p < COUNT; p++) {
      int k, x;
      place(p, k, x);
      const bool inside = k < K && x < width;
      held[p] = inside ? at[transposed ? x * pitch + k : k * pitch + x] : real(0);
      if (ones && x == width) held[p] = 1;
    }
  }

  __device__ void store(real (*tile)[Tile::SIZE + 4]) const {
#pragma unroll
    for (int p = 0; p < COUNT; p++) {
      int k, x;
      place(p, k, x);
      tile[k][x] = held[p];
    }
  }
};

// result(i, j, sum over k of left(k, i) * right(k, j), beside(i, j)) for a tile of (M, N) results
// from (i0, j0) on, with k from `begin` to `end`. The sum is over `networks` such products,
// `left_next` and `right_next` apart. `beside` reads what else a result needs, before the sum.
template <class Tile, class Left, class Right, class Beside, class Result>
__device__ void product(Shared<Tile> &shared, Left left, Right right, int i0, int j0, int M, int N,
                        int begin, int end, Beside beside, Result result, int networks = 1,
                        int left_next = 0, int right_next = 0) {
  const int steps = networks * ((end - begin + Tile::DEPTH - 1) / Tile::DEPTH);
  const int down = threadIdx.x / (Tile::SIZE / Tile::ACROSS) * Tile::DOWN;
  const int across = threadIdx.x % (Tile::SIZE / Tile::ACROSS) * Tile::ACROSS;
  real sums[Tile::DOWN][Tile::ACROSS] = {}, others[Tile::DOWN][Tile::ACROSS];
#pragma unroll
  for (int u = 0; u < Tile::DOWN; u++)
#pragma unroll
    for (int v = 0; v < Tile::ACROSS; v++) {
      const int i = i0 + down + u, j = j0 + across + v;
      others[u][v] = i < M && j < N ? beside(i, j) : real(0);
    }
  left.move(begin, i0);
  right.move(begin, j0);
  for (int step = 0, term = begin; step <= steps; step++) {
    if (step > 0) {
      left.store(shared.left);
      right.store(shared.right);
      __syncthreads();
    }
    if (step < steps) {  // read memory while the tile before is multiplied
      left.load(end - term);
      right.load(end - term);
      left.move(Tile::DEPTH, 0);
      right.move(Tile::DEPTH, 0);
      term += Tile::DEPTH;
      if (term >= end) {  // to the next network
        left.move(begin - term, 0);
        right.move(begin - term, 0);
        left.at += left_next;
        right.at += right_next;
        term = begin;
      }
    }
    if (step > 0) {
#pragma unroll 4
      for (int k = 0; k < Tile::DEPTH; k++) {
        real a[Tile::DOWN], b[Tile::ACROSS];
#pragma unroll
        for (int u = 0; u < Tile::DOWN; u++) a[u] = shared.left[k][down + u];
#pragma unroll
        for (int v = 0; v < Tile::ACROSS; v++) b[v] = shared.right[k][across + v];
#pragma unroll
        for (int u = 0; u < Tile::DOWN; u++)
#pragma unroll
          for (int v = 0; v < Tile::ACROSS; v++) sums[u][v] += a[u] * b[v];
      }
      __syncthreads();
    }
  }
#pragma unroll
  for (int u = 0; u < Tile::DOWN; u++)
#pragma unroll
    for (int v = 0; v < Tile::ACROSS; v++) {
      const int i = i0 + down + u, j = j0 + across + v;
      if (i < M && j < N) result(i, j, sums[u][v], others[u][v]);
    }
}

// The number of tiles along n results, and the next digit of a number of a block.
template <class Tile>
__device__ int tiles(int n) {
  return (n + Tile::SIZE - 1) / Tile::SIZE;
}
__device__ int digit(int &number, int base) {
  const int rest = number % base;
  number /= base;
  return rest;
}

// ---- forward: z <- activate(h W + b); z (rows, B, m), h (rows, B, n), or (B, n) for h_next = 0

template <class Tile>
__device__ void forward(const real *theta, int stride, int start, const real *h, int h_next,
                        real *z, int B, int n, int m, int activation) {
  __shared__ Shared<Tile> shared;
  int block = blockIdx.x;
  const int j0 = digit(block, tiles<Tile>(m)) * Tile::SIZE;
  const int i0 = digit(block, tiles<Tile>(B)) * Tile::SIZE;
  const index_t row = block;
  const real *W = theta + row * stride + start, *b = W + n * m;
  z += row * B * m;
  product(shared, Operand<Tile, true>{h + row * h_next, n, B}, Operand<Tile, false>{W, m, m}, i0,
          j0, B, m, 0, n, [&](int, int j) { return b[j]; },
          [&](int i, int j, real sum, real bias) {
            z[i * m + j] = activation == PRODUCT ? sum : activate(sum + bias, activation);
          });
}

extern "C" __global__ void __launch_bounds__(128)
    forward_small(const real *theta, int stride, int start, const real *h, int h_next, real *z,
                  int B, int n, int m, int activation) {
  forward<Small>(theta, stride, start, h, h_next, z, B, n, m, activation);
}

extern "C" __global__ void __launch_bounds__(256)
    forward_large(const real *theta, int stride, int start, const real *h, int h_next, real *z,
                  int B, int n, int m, int activation) {
  forward<Large>(theta, stride, start, h, h_next, z, B, n, m, activation);
}

// ---- backward: two products of a layer in one launch; g (rows, B, m) is the cotangent of h W + b
//
// The first `slope_blocks` blocks: slopes <- [h, 1]^T g, a matrix (n + 1, m) laid out as theta's.
// The batch is divided among `parts`: slopes (parts, rows, stride) are summed by add_parts.
// The others: below <- (g W^T) * slope(h), (rows, B, n), or summed over `networks` rows, (B, n).

template <class Tile>
__device__ void backward(const real *theta, int stride, int start, const real *h, int h_next,
                         const real *g, real *slopes, real *below, int rows, int B, int n, int m,
                         int activation, int slope_blocks, int parts, int networks) {
  __shared__ Shared<Tile> shared;
  int block = blockIdx.x;
  if (block < slope_blocks) {
    const int j0 = digit(block, tiles<Tile>(m)) * Tile::SIZE;
    const int i0 = digit(block, tiles<Tile>(n + 1)) * Tile::SIZE;
    const index_t row = digit(block, rows);
    const int size = (B + parts - 1) / parts, begin = block * size;
    slopes += (block * rows + row) * stride + start;
    product(shared, Operand<Tile, false, true>{h + row * h_next, n, n},
            Operand<Tile, false>{g + row * B * m, m, m}, i0, j0, n + 1, m, begin,
            begin + size < B ? begin + size : B,
            [](int, int) { return real(0); },
            [&](int i, int j, real sum, real) { slopes[i * m + j] = sum; });
  } else {
    block -= slope_blocks;
    const int j0 = digit(block, tiles<Tile>(n)) * Tile::SIZE;
    const int i0 = digit(block, tiles<Tile>(B)) * Tile::SIZE;
    const index_t row = block;
    const real *y = h + row * h_next;
    below += row * B * n;
    product(shared, Operand<Tile, true>{g + row * B * m, m, B},
            Operand<Tile, true>{theta + row * stride + start, m, n}, i0, j0, B, n, 0, m,
            [&](int i, int j) { return y[i * n + j]; },
            [&](int i, int j, real sum, real value) {
              below[i * n + j] = sum * slope(value, activation);
            },
            networks, B * m, stride);
  }
}

extern "C" __global__ void __launch_bounds__(128)
    backward_small(const real *theta, int stride, int start, const real *h, int h_next,
                   const real *g, real *slopes, real *below, int rows, int B, int n, int m,
                   int activation, int slope_blocks, int parts, int networks) {
  backward<Small>(theta, stride, start, h, h_next, g, slopes, below, rows, B, n, m, activation,
                  slope_blocks, parts, networks);
}

extern "C" __global__ void __launch_bounds__(256)
    backward_large(const real *theta, int stride, int start, const real *h, int h_next,
                   const real *g, real *slopes, real *below, int rows, int B, int n, int m,
                   int activation, int slope_blocks, int parts, int networks) {
  backward<Large>(theta, stride, start, h, h_next, g, slopes, below, rows, B, n, m, activation,
                  slope_blocks, parts, networks);
}

// dtheta <- the sum of parts (parts, rows, stride), without the free outputs after column `used`.
extern "C" __global__ void add_parts(const real *slopes, real *dtheta, int rows, int stride,
                                     int used, int parts) {
  const index_t e = THREAD, at = e / used * stride + e % used;
  if (e >= index_t(rows) * used) return;
  real sum = 0;
  for (int part = 0; part < parts; part++) sum += slopes[part * index_t(rows) * stride + at];
  dtheta[at] = sum;
}

// ---- normalized rows: z, g, y, out (rows, B, m), of `all_rows` = rows B rows; scale (rows, B);
// theta (rows, stride) holds gains (m,) from column `gain` on, and biases (m,) from `bias` on

// z <- scale (z - its mean), with scale <- 1 / sqrt(its variance + 1e-5);
// y <- activate(z * gain + bias); biases may be null.
extern "C" __global__ void __launch_bounds__(128)
    normalize(const real *gains, int stride, int gain, const real *biases, int bias, real *z,
              real *scale, real *y, int all_rows, int B, int m, int activation, int lanes) {
  const index_t i = row_of(lanes);
  if (i >= all_rows) return;
  const int lane = lane_of(lanes);
  gains += i / B * stride + gain;
  z += i * m, y += i * m;
  real sum = 0, squares = 0;
  for (int j = lane; j < m; j += lanes) sum += z[j];
  const real mean = row_sum(sum, lanes) / m;
  for (int j = lane; j < m; j += lanes) squares += (z[j] - mean) * (z[j] - mean);
  const real factor = 1 / sqrt(row_sum(squares, lanes) / m + real(1e-5));
  if (lane == 0) scale[i] = factor;
  for (int j = lane; j < m; j += lanes) {
    z[j] = (z[j] - mean) * factor;
    const real b = biases ? biases[i / B * stride + bias + j] : real(0);
    y[j] = activate(z[j] * gains[j] + b, activation);
  }
}

// out <- the cotangent of what normalize got, from g, that of z * gain; out may be g.
extern "C" __global__ void __launch_bounds__(128)
    normalize_backward(const real *gains, int stride, int gain, const real *g, const real *z,
                       const real *scale, real *out, int all_rows, int B, int m, int lanes) {
  const index_t i = row_of(lanes);
  if (i >= all_rows) return;
  const int lane = lane_of(lanes);
  gains += i / B * stride + gain;
  g += i * m, z += i * m, out += i * m;
  real sum = 0, along = 0;
  for (int j = lane; j < m; j += lanes) {
    sum += g[j] * gains[j];
    along += g[j] * gains[j] * z[j];
  }
  sum = row_sum(sum, lanes) / m;
  along = row_sum(along, lanes) / m;
  for (int j = lane; j < m; j += lanes) out[j] = scale[i] * (g[j] * gains[j] - sum - z[j] * along);
}

// dgains <- the sums of g * z over the batch, dbiases <- those of g; dbiases may be null.
extern "C" __global__ void normal_sums(const real *g, const real *z, real *dgains, int stride,
                                       int gain, real *dbiases, int bias, int rows, int B, int m) {
  const index_t e = THREAD, row = e / m, j = e % m;
  if (row >= rows) return;
  real sum = 0, along = 0;
  for (index_t i = row * B; i < (row + 1) * B; i++) {
    sum += g[i * m + j];
    along += g[i * m + j] * z[i * m + j];
  }
  dgains[row * stride + gain + j] = along;
  if (dbiases) dbiases[row * stride + bias + j] = sum;
}

// ---- without a product

// z <- activate(z + b); z (B, m), `size` numbers.
extern "C" __global__ void add_bias(real *z, const real *b, int size, int m, int activation) {
  const index_t e = THREAD;
  if (e < size) z[e] = activate(z[e] + b[e % m], activation);
}

// out <- g * slope(y), `size` numbers; out may be g.
extern "C" __global__ void times_slope(const real *g, const real *y, real *out, int size,
                                       int activation) {
  const index_t e = THREAD;
  if (e < size) out[e] = g[e] * slope(y[e], activation);
}

// ---- columns beside those of the networks

// out (..., n + width), `size` numbers <- rows of a (..., n), each beside the last `width` numbers
// of a row of b (..., pitch), which is for `repeats` rows of a.
extern "C" __global__ void join(const real *a, const real *b, real *out, int size, int n, int width,
                                int pitch, int repeats) {
  const index_t e = THREAD;
  if (e >= size) return;
  const index_t row = e / (n + width), column = e % (n + width);
  out[e] = column < n ? a[row * n + column]
                      : b[(row / repeats + 1) * pitch - width + column - n];
}

// of_layer (rows, B, m), `size` numbers <- the first columns of g (rows, B, m + free); the last
// `free` columns of dtheta (rows, stride) <- sums of the others, one in each of the first `sums`
// blocks.
extern "C" __global__ void __launch_bounds__(128)
    split_free(const real *g, real *of_layer, real *dtheta, int size, int B, int m, int free,
               int stride, int sums) {
  if (blockIdx.x < sums) {
    const index_t row = blockIdx.x / free, column = blockIdx.x % free;
    real sum = 0;
    for (unsigned i = threadIdx.x; i < B; i += blockDim.x)
      sum += g[(row * B + i) * (m + free) + m + column];
    sum = row_sum(sum, blockDim.x);
    if (threadIdx.x == 0) dtheta[(row + 1) * stride - free + column] = sum;
  } else {
    const index_t e = THREAD - index_t(sums) * blockDim.x;
    if (e < size) of_layer[e] = g[e / m * (m + free) + e % m];
  }
}
