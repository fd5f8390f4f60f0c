// The dialect of the kernels: C++ that the compilers of GPUs and of CPUs take alike. `T` is the floating-point type.

#ifdef __CUDACC__
#define DEVICE static __device__ __forceinline__
#define MEMBER __device__ __forceinline__
#define KERNEL extern "C" __global__ void
#define EACH_THREAD(t, count) \
    for (unsigned t = blockIdx.x * blockDim.x + threadIdx.x; t < (unsigned)(count); t += gridDim.x * blockDim.x)
#define INF ((T)__longlong_as_double(0x7ff0000000000000LL))
#else
#include <cmath>
using namespace std;
#define DEVICE static inline
#define MEMBER inline
#define KERNEL extern "C" void
#define EACH_THREAD(t, count) for (unsigned t = 0; t < (unsigned)(count); ++t)
#define INF ((T)HUGE_VAL)
#endif

// One factor's or one pattern's entries of an array whose long axes come last.
struct Entries {
    const T *at;
    long long step;
    MEMBER T operator[](int i) const { return at[i * step]; }
};

struct Results {
    T *at;
    long long step;
    MEMBER T &operator[](int i) const { return at[i * step]; }
};

DEVICE T larger(T a, T b) { return a > b ? a : b; }
DEVICE T smaller(T a, T b) { return a < b ? a : b; }
DEVICE T sign_of(T a) { return (T)((a > 0) - (a < 0)); }
DEVICE bool is_finite(T a) { return a - a == 0; }
