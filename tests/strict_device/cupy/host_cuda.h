// What the sources of CUDA kernels use of CUDA, on the host: see raw.py, which compiles
//     this file, namespace { the source }, KERNEL(name) for each of its kernels.
//
// The threads of a block run one after the other. A thread that reaches a barrier is parked: each
// runs on a stack of its own (a fiber), and is resumed when all threads of its block are parked.
// Blocks run one after the other.
#include <setjmp.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cmath>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
// blocks run one at a time, so one copy is enough; in a section of its own, to be overwritten
#define __shared__ static __attribute__((section("cuda_shared")))
#define __syncthreads() host::barrier(__LINE__)
#define __threadfence()

struct dim3 {
    unsigned x, y, z;
};

namespace host {

enum Order { FORWARD, REVERSE, SHUFFLED };
// bytes of a stack, not a power of two since caches map such addresses to one place; threads of a
// block
enum { STACK = (1 << 17) + 320, LIMIT = 1024 };

// What a fiber does
enum State { IDLE, PARKED };
struct Fiber {
    ucontext_t start;
    jmp_buf at;  // where to go on; faster than swapcontext, which saves the signal mask
    bool started;
    State state;
    unsigned thread;
    int line;  // of the barrier where it is parked
};

static dim3 thread_index, block_index, block_size, grid_size;
static Fiber fibers[LIMIT];
static char *stacks;
static Fiber *current;
static jmp_buf scheduler;
static unsigned order[LIMIT], next_thread, threads;  // order in which threads start
static void (*body)(void **);                        // the kernel, with its arguments
static void **arguments;

static void become(unsigned thread) {
    unsigned row = thread / block_size.x;
    thread_index = {thread % block_size.x, row % block_size.y, row / block_size.y};
}

// Go back to the scheduler; returns when it resumes this fiber.
__attribute__((noinline)) static void leave(State state) {
    current->state = state;
    if (!_setjmp(current->at)) _longjmp(scheduler, 1);
}

// A pointer, so that the compiler takes it that any static variable may change meanwhile.
static void (*volatile leave_for)(State) = leave;

static inline void barrier(int line) {
    current->line = line;
    leave_for(PARKED);
}

static void work() {
    for (;;) {
        while (next_thread < threads) {
            current->thread = order[next_thread++];
            become(current->thread);
            body(arguments);
        }
        leave(IDLE);
    }
}

__attribute__((noinline)) static void enter(Fiber *fiber) {
    current = fiber;
    if (_setjmp(scheduler)) return;
    if (fiber->started) _longjmp(fiber->at, 1);
    fiber->started = true;
    getcontext(&fiber->start);
    fiber->start.uc_stack.ss_sp = stacks + size_t(fiber - fibers) * STACK;
    fiber->start.uc_stack.ss_size = STACK;
    makecontext(&fiber->start, work, 0);
    setcontext(&fiber->start);
}

static void arrange(unsigned *items, unsigned n, int how, unsigned long long &seed) {
    for (unsigned i = 0; i < n; i++) items[i] = how == REVERSE ? n - 1 - i : i;
    if (how != SHUFFLED) return;
    for (unsigned i = n; i > 1; i--) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        unsigned j = unsigned(seed >> 33) % i, item = items[i - 1];
        items[i - 1] = items[j], items[j] = item;
    }
}

extern "C" char __start_cuda_shared[] __attribute__((weak));
extern "C" char __stop_cuda_shared[] __attribute__((weak));

// The line of a barrier that not all threads of the block reached; 0 if there is none.
static int run_block(int how, unsigned long long &seed) {
    if (__start_cuda_shared)  // NaN, and large negative integers
        memset(__start_cuda_shared, 0xFF, size_t(__stop_cuda_shared - __start_cuda_shared));
    arrange(order, threads, how, seed);
    next_thread = 0;
    unsigned parked = 0;
    while (next_thread < threads) {
        enter(&fibers[parked]);
        parked += fibers[parked].state == PARKED;
    }
    if (parked && parked < threads) return fibers[0].line;
    while (parked) {
        for (unsigned i = 1; i < threads; i++)
            if (fibers[i].line != fibers[0].line) return fibers[0].line;
        int line = fibers[0].line;
        arrange(order, threads, how, seed);
        parked = 0;
        for (unsigned i = 0; i < threads; i++) {
            Fiber *fiber = &fibers[order[i]];
            become(fiber->thread);
            enter(fiber);
            parked += fiber->state == PARKED;
        }
        if (parked && parked < threads) return line;
    }
    return 0;
}

static int launch(void (*kernel)(void **), const unsigned *grid, const unsigned *block, void **args,
                  int how, unsigned long long seed) {
    if (!stacks)
        stacks = (char *)mmap(nullptr, size_t(STACK) * LIMIT, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    grid_size = {grid[0], grid[1], grid[2]}, block_size = {block[0], block[1], block[2]};
    body = kernel, arguments = args, threads = block[0] * block[1] * block[2];
    unsigned blocks = grid[0] * grid[1] * grid[2], *blocks_in_order = new unsigned[blocks];
    arrange(blocks_in_order, blocks, how, seed);
    int wrong = 0;
    for (unsigned i = 0; i < blocks && !wrong; i++) {
        unsigned row = blocks_in_order[i] / grid[0];
        block_index = {blocks_in_order[i] % grid[0], row % grid[1], row / grid[1]};
        wrong = run_block(how, seed);
    }
    if (wrong)  // threads stay within the kernel: forget them
        for (Fiber &fiber : fibers) fiber.started = false;
    delete[] blocks_in_order;
    return wrong;
}

// The types of a kernel's arguments, as text: NumPy's kind and size, * for a pointer.
template <class T> struct Type;
template <class T> struct Type<T *> {
    static void write(char *&to) { *to++ = '*', Type<std::remove_const_t<T>>::write(to); }
};
template <char kind, char size> struct Code {
    static void write(char *&to) { *to++ = kind, *to++ = size; }
};
template <> struct Type<float> : Code<'f', '4'> {};
template <> struct Type<double> : Code<'f', '8'> {};
template <> struct Type<int> : Code<'i', '4'> {};
template <> struct Type<long> : Code<'i', '8'> {};
template <> struct Type<long long> : Code<'i', '8'> {};
template <> struct Type<unsigned> : Code<'u', '4'> {};
template <> struct Type<unsigned char> : Code<'u', '1'> {};
template <> struct Type<bool> : Code<'b', '1'> {};

template <auto kernel, class Function = decltype(kernel)> struct Kernel;
template <auto kernel, class... Arguments> struct Kernel<kernel, void (*)(Arguments...)> {
    static void types(char *to) {
        ((Type<Arguments>::write(to), *to++ = ' '), ...);
        *to = 0;
    }
    template <size_t... i> static void call(void **args, std::index_sequence<i...>) {
        kernel(*(Arguments *)args[i]...);
    }
    static void run(void **args) { call(args, std::index_sequence_for<Arguments...>()); }
};

#define KERNEL(name)                                                                            \
    extern "C" void types_##name(char *to) { host::Kernel<name>::types(to); }                   \
    extern "C" int launch_##name(const unsigned *grid, const unsigned *block, void **args,      \
                                 int order, unsigned long long seed) {                          \
        return host::launch(host::Kernel<name>::run, grid, block, args, order, seed);           \
    }

}  // namespace host

static const dim3 &threadIdx = host::thread_index, &blockIdx = host::block_index;
static const dim3 &blockDim = host::block_size, &gridDim = host::grid_size;

// ---- mathematics: <cmath> has the overloads for float in std

using std::abs, std::acos, std::asin, std::atan, std::atan2, std::cbrt, std::ceil, std::copysign;
using std::cos, std::cosh, std::erf, std::erfc, std::exp, std::exp2, std::expm1, std::fabs;
using std::floor, std::fma, std::fmax, std::fmin, std::fmod, std::hypot, std::isfinite, std::isinf;
using std::isnan, std::lgamma, std::log, std::log10, std::log1p, std::log2, std::nearbyint;
using std::pow, std::rint, std::round, std::signbit, std::sin, std::sinh, std::sqrt, std::tan;
using std::tanh, std::trunc;

template <class T> static inline T rsqrt(T x) { return T(1) / std::sqrt(x); }

// as CUDA's: of a number and NaN, the number
template <class A, class B> static inline std::common_type_t<A, B> max(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return std::fmax(T(a), T(b));
    else return T(a) < T(b) ? T(b) : T(a);
}
template <class A, class B> static inline std::common_type_t<A, B> min(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return std::fmin(T(a), T(b));
    else return T(b) < T(a) ? T(b) : T(a);
}

// ---- atomics, on integers only: sums of floating-point numbers would depend on the order

template <class T> struct Integer {
    static_assert(std::is_same_v<T, int> || std::is_same_v<T, unsigned> ||
                      std::is_same_v<T, unsigned long long>,
                  "atomics are allowed on int, unsigned and unsigned long long");
    using type = T;
};
template <class T> using Same = typename Integer<T>::type;
template <class T, class V> static inline T exchange(T *at, V value) {
    Same<T> old = *at;
    *at = T(value);
    return old;
}
template <class T> static inline T atomicAdd(T *at, std::common_type_t<T> by) {
    return exchange(at, *at + by);
}
template <class T> static inline T atomicExch(T *at, std::common_type_t<T> to) {
    return exchange(at, to);
}
template <class T> static inline T atomicMax(T *at, std::common_type_t<T> other) {
    return exchange(at, max(*at, other));
}
template <class T> static inline T atomicMin(T *at, std::common_type_t<T> other) {
    return exchange(at, min(*at, other));
}
template <class T> static inline T atomicCAS(T *at, std::common_type_t<T> old, std::common_type_t<T> to) {
    return exchange(at, *at == old ? to : *at);
}
static inline unsigned atomicInc(unsigned *at, unsigned limit) {
    return exchange(at, *at >= limit ? 0u : *at + 1);
}
