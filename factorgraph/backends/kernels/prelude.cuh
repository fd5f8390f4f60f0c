// The dialect of the kernels: C++ that the compilers of GPUs and of CPUs take alike. `T` is the floating-point type.

#ifdef __CUDACC__
#define DEVICE static __device__ __forceinline__
#define MEMBER __device__ __forceinline__
// Blocks of 256 threads, two of them at once on a multiprocessor: at most 128 registers a thread.
#define GLOBAL_KERNEL extern "C" __global__ void __launch_bounds__(256, 2)
#define END_OF_STEP __syncthreads()
#define EACH_THREAD(t, count) \
    for (unsigned t = blockIdx.x * blockDim.x + threadIdx.x; t < (unsigned)(count); t += gridDim.x * blockDim.x)
#define INF ((T)__longlong_as_double(0x7ff0000000000000LL))
#define RESTRICT __restrict__
// Of single precision by the special function units: absolute errors of some 2^-22 where the result is about 1 or less.
DEVICE float quick_exp(float a) { return __expf(a); }
DEVICE float quick_log(float a) { return __logf(a); }
DEVICE float quick_ratio(float a, float b) { return __fdividef(a, b); }
DEVICE double quick_exp(double a) { return exp(a); }
DEVICE double quick_log(double a) { return log(a); }
DEVICE double quick_ratio(double a, double b) { return a / b; }
#else
#include <cmath>
using namespace std;
#define DEVICE static inline
#define MEMBER inline
#define GLOBAL_KERNEL extern "C" void
#define END_OF_STEP
#define EACH_THREAD(t, count) for (unsigned t = 0; t < (unsigned)(count); ++t)
#define INF ((T)HUGE_VAL)
#define RESTRICT __restrict__
DEVICE T quick_exp(T a) { return exp(a); }
DEVICE T quick_log(T a) { return log(a); }
DEVICE T quick_ratio(T a, T b) { return a / b; }
#endif

#define KERNEL GLOBAL_KERNEL

// One factor's or one pattern's entries of an array whose long axes come last.
struct Entries {
    const T *at;
    long long step;
    MEMBER T operator[](int i) const { return at[i * step]; }
};

DEVICE T larger(T a, T b) { return a > b ? a : b; }
DEVICE T smaller(T a, T b) { return a < b ? a : b; }
DEVICE T sign_of(T a) { return (T)((a > 0) - (a < 0)); }
DEVICE bool is_finite(T a) { return a - a == 0; }
