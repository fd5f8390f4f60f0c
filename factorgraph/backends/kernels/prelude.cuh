// The dialect of the kernels: C++ that the compilers of GPUs and of CPUs take alike. `T` is the floating-point type.
//
// A kernel is a loop over threads, `EACH_THREAD(t, count)`, which do not wait for each other. Or it goes through them by groups:
// `EACH_GROUP(first, count, LANES)`, and within it, as often as there are steps, `EACH_LANE(lane, first, count, LANES)`. A group
// is one thread of a GPU, and LANES of them on a CPU, where each step is a loop of vector instructions; FEW_LANES where a thread
// keeps many numbers. `LANE_BY_LANE` is the same without vectors; `EACH_REGISTER` takes WIDTH lanes at once, which a `Lanes` holds.

#ifdef __CUDACC__
#define DEVICE static __device__ __forceinline__
#define MEMBER __device__ __forceinline__
// Blocks of 256 threads, two of them at once on a multiprocessor: at most 128 registers a thread.
#define GLOBAL_KERNEL extern "C" __global__ void __launch_bounds__(256, 2)
#define END_OF_STEP __syncthreads()
#define EACH_THREAD(t, count) \
    for (unsigned t = blockIdx.x * blockDim.x + threadIdx.x; t < (unsigned)(count); t += gridDim.x * blockDim.x)
#define LANES 1
#define FEW_LANES 1
#define WRITTEN_OUT _Pragma("unroll")  // before a loop over what a group keeps
#define GIVEN(array)  // which is not null
#define EACH_GROUP(first, count, lanes) EACH_THREAD(first, count)
#define LANE_BY_LANE(lane, first, count, lanes) for (int lane = 0; lane < 1; ++lane)
#define EACH_LANE LANE_BY_LANE
#define EACH_REGISTER LANE_BY_LANE
#define INF ((T)__longlong_as_double(0x7ff0000000000000LL))
#define NOT_GIVEN ((T)__longlong_as_double(0x7ff8000000000000LL))
#define RESTRICT __restrict__
#define WIDTH 1
#define Lanes T
#define Flags bool
#define LaneEntries Entries
// Of single precision by the special function units: absolute errors of some 2^-22 where the result is about 1 or less.
DEVICE float quick_exp(float a) { return __expf(a); }
DEVICE float quick_log(float a) { return __logf(a); }
DEVICE float quick_ratio(float a, float b) { return __fdividef(a, b); }
DEVICE double quick_exp(double a) { return exp(a); }
DEVICE double quick_log(double a) { return log(a); }
DEVICE double quick_ratio(double a, double b) { return a / b; }
#else
#ifdef __OPTIMIZE__
#define MEMBER inline __attribute__((always_inline))
#else
#define MEMBER inline
#endif
#define DEVICE static MEMBER
#define GLOBAL_KERNEL extern "C" void
#define END_OF_STEP
// The share of a kernel's threads that the calling thread of the CPU does: all, unless it was told otherwise. It begins and
// ends with a group.
static thread_local int share_begin = 0, share_end = 0x7fffffff;
extern "C" void set_share(int begin, int end) { share_begin = begin, share_end = end; }
#define SHARE_STOP(count) (share_end < (count) ? share_end : (count))
#define EACH_THREAD(t, count) _Pragma("GCC ivdep") for (int t = share_begin, stop_ = SHARE_STOP(count); t < stop_; ++t)
#define LANES 64
#define FEW_LANES 16
#define WIDTH (64 / (int)sizeof(T))
#define WRITTEN_OUT
#define GIVEN(array) if (!array) __builtin_unreachable();
#define EACH_GROUP(first, count, lanes) for (int first = share_begin, stop_ = SHARE_STOP(count); first < stop_; first += lanes)
#define LANES_OF(first, count, lanes) ((count) - (first) < lanes ? (count) - (first) : lanes)
#define LANE_BY_LANE(lane, first, count, lanes) for (int lane = 0; lane < LANES_OF(first, count, lanes); ++lane)
#define EACH_LANE(lane, first, count, lanes) _Pragma("GCC ivdep") LANE_BY_LANE(lane, first, count, lanes)
#define EACH_REGISTER(lane, first, count, lanes) for (int lane = 0; lane < LANES_OF(first, count, lanes); lane += WIDTH)
#define INF ((T)__builtin_huge_val())
#define NOT_GIVEN ((T)__builtin_nan(""))
#define RESTRICT __restrict__
namespace kernels {  // which whoever compiles the text closes
#endif

#define KERNEL GLOBAL_KERNEL

// Which entry of an array (entries, sets) each lane of ``group`` has: of one set all lanes have entries of their own; where sets
// fill whole groups, `filled`, all have the same entry.
#define LANES_OF_SETS(lanes) \
    const int first_entry = group / sets, first_set = group % sets; \
    int of_entry[lanes], of_set[lanes]; \
    if (sets > 1 && !filled) LANE_BY_LANE(lane, group, count, lanes) { \
        of_entry[lane] = (group + lane) / sets; \
        of_set[lane] = (group + lane) % sets; \
    }
#define SET_OF(lane) (sets == 1 ? 0 : filled ? first_set + (lane) : of_set[lane])
#define ENTRY_OF(lane) (sets == 1 ? group + (lane) : filled ? first_entry : of_entry[lane])

// One factor's or one pattern's entries of an array whose long axes come last.
struct Entries {
    const T *at;
    long long step;
    MEMBER T operator[](int i) const { return at[i * step]; }
};

#ifdef __CUDACC__
DEVICE T select(bool which, T a, T b) { return which ? a : b; }
DEVICE void load(T &a, const T *from) { a = *from; }
DEVICE void store(T *to, T a) { *to = a; }
DEVICE void store(bool *to, bool a) { *to = a; }
DEVICE Entries entries_of(const T *at, int step, const int *factors, int by_factor, bool, bool) {
    return Entries{at + factors[0] * by_factor, step};
}
#endif

DEVICE T larger(T a, T b) { return a > b ? a : b; }
DEVICE T smaller(T a, T b) { return a < b ? a : b; }
DEVICE T sign_of(T a) { return (T)((a > 0) - (a < 0)); }
DEVICE bool is_finite(T a) { return a - a == 0; }
