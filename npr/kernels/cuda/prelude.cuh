// What every source begins with. `real` is float or double, see compiler.py.
typedef long long index_t;  // of the elements of index arrays, int64

// The index of this thread among all threads of a grid of one dimension, and their number.
#define THREAD (blockIdx.x * blockDim.x + threadIdx.x)
#define THREADS (blockDim.x * gridDim.x)

// Kernels that work row by row: a row belongs to one thread (lanes = 1) or to the 128 of a block, as
// compiler.per_row chooses. Those of the last block may have no row.
__device__ inline index_t row_of(int lanes) { return lanes == 1 ? THREAD : blockIdx.x; }
__device__ inline int lane_of(int lanes) { return lanes == 1 ? 0 : threadIdx.x; }

// One array per block, to exchange a number of every lane.
__device__ inline real *exchanged(real x) {
  __shared__ real numbers[1024];  // as many as a block may have threads
  __syncthreads();  // the previous ones have been read
  numbers[threadIdx.x] = x;
  __syncthreads();
  return numbers;
}

// The sum of a row's lanes, on all of them; always added in the same order.
__device__ inline real row_sum(real x, int lanes) {
  if (lanes == 1) return x;
  real *numbers = exchanged(x);
  for (int n = lanes / 2; n > 0; n /= 2) {
    if (threadIdx.x < n) numbers[threadIdx.x] += numbers[threadIdx.x + n];
    __syncthreads();
  }
  return numbers[0];
}

// The largest number of a row's lanes. Whether a NaN is kept is not defined.
__device__ inline real row_max(real x, int lanes) {
  if (lanes == 1) return x;
  real *numbers = exchanged(x);
  for (int n = lanes / 2; n > 0; n /= 2) {
    if (threadIdx.x < n) numbers[threadIdx.x] = fmax(numbers[threadIdx.x], numbers[threadIdx.x + n]);
    __syncthreads();
  }
  return numbers[0];
}

// The sum over all threads of a block, a power of two of them, as above.
__device__ inline real block_sum(real x) { return row_sum(x, blockDim.x); }

// Sums over many numbers are made in parts, one for each block of a first kernel, see
// compiler.per_part. Then a block adds up all parts, at most one per thread.
__device__ inline real parts_sum(const real *parts, int count) {
  return block_sum(threadIdx.x < count ? parts[threadIdx.x] : real(0));
}
