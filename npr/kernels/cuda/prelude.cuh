// What every source begins with. `real` is float or double, see compiler.py.
typedef long long index_t;  // of the elements of index arrays, int64

// The index of this thread among all threads of a grid of one dimension, and their number.
#define THREAD (blockIdx.x * blockDim.x + threadIdx.x)
#define THREADS (blockDim.x * gridDim.x)
