// Several numbers side by side, one for each lane of the CPU's vector instructions: what quick bodies of messages are made of.

typedef T Register __attribute__((vector_size(64)));
typedef Bits RegisterOfBits __attribute__((vector_size(64)));

struct Lanes {
    Register at;
    MEMBER Lanes() {}
    MEMBER Lanes(Register given) : at(given) {}
    template <class Number> MEMBER Lanes(Number all) : at((T)all - Register{}) {}
    MEMBER Lanes &operator+=(Lanes a) { at += a.at; return *this; }
    MEMBER Lanes &operator-=(Lanes a) { at -= a.at; return *this; }
    MEMBER Lanes &operator*=(Lanes a) { at *= a.at; return *this; }
    MEMBER Lanes &operator/=(Lanes a) { at /= a.at; return *this; }
};

struct Flags {
    RegisterOfBits at;
    MEMBER Flags(RegisterOfBits given) : at(given) {}
    MEMBER Flags(bool all) : at(all ? ~RegisterOfBits{} : RegisterOfBits{}) {}
};

DEVICE Lanes operator+(Lanes a, Lanes b) { return a.at + b.at; }
DEVICE Lanes operator-(Lanes a, Lanes b) { return a.at - b.at; }
DEVICE Lanes operator*(Lanes a, Lanes b) { return a.at * b.at; }
DEVICE Lanes operator/(Lanes a, Lanes b) { return a.at / b.at; }
DEVICE Lanes operator-(Lanes a) { return -a.at; }
DEVICE Flags operator<(Lanes a, Lanes b) { return a.at < b.at; }
DEVICE Flags operator>(Lanes a, Lanes b) { return a.at > b.at; }
DEVICE Flags operator<=(Lanes a, Lanes b) { return a.at <= b.at; }
DEVICE Flags operator>=(Lanes a, Lanes b) { return a.at >= b.at; }
DEVICE Flags operator==(Lanes a, Lanes b) { return a.at == b.at; }
DEVICE Flags operator!=(Lanes a, Lanes b) { return a.at != b.at; }
DEVICE Flags operator&(Flags a, Flags b) { return a.at & b.at; }
DEVICE Flags operator|(Flags a, Flags b) { return a.at | b.at; }
DEVICE Flags operator!(Flags a) { return ~a.at; }

DEVICE Lanes select(Flags which, Lanes a, Lanes b) { return which.at ? a.at : b.at; }
DEVICE Lanes larger(Lanes a, Lanes b) { return select(a > b, a, b); }
DEVICE Lanes smaller(Lanes a, Lanes b) { return select(a < b, a, b); }
DEVICE Lanes fabs(Lanes a) { return larger(a, -a); }
DEVICE Lanes sign_of(Lanes a) { return select(a > 0, 1, 0) - select(a < 0, 1, 0); }
DEVICE Flags is_finite(Lanes a) { return a - a == 0; }
DEVICE Lanes quick_ratio(Lanes a, Lanes b) { return a / b; }

DEVICE void load(Lanes &a, const T *from) { __builtin_memcpy(&a, from, sizeof(a)); }
DEVICE void store(T *to, Lanes a) { __builtin_memcpy(to, &a, sizeof(a)); }
DEVICE void store(bool *to, Flags a) {
    Bits flags[WIDTH];
    __builtin_memcpy(flags, &a, sizeof(a));
    for (int i = 0; i < WIDTH; ++i) to[i] = flags[i] != 0;
}

// A loop over the lanes that becomes one call with all of them; unrolled it would be as many calls.
#define EACH_OF(i) _Pragma("GCC unroll 1") _Pragma("GCC ivdep") for (int i = 0; i < WIDTH; ++i)

#define LANE_BY_LANE_OF(function, name) \
    DEVICE Lanes name(Lanes a) { \
        T given[WIDTH], values[WIDTH]; \
        store(given, a); \
        EACH_OF(i) values[i] = function(given[i]); \
        load(a, values); \
        return a; \
    }
LANE_BY_LANE_OF(exp, exp)
LANE_BY_LANE_OF(expm1, expm1)
LANE_BY_LANE_OF(log, log)
LANE_BY_LANE_OF(log1p, log1p)
LANE_BY_LANE_OF(tanh, tanh)
LANE_BY_LANE_OF(sqrt, sqrt)
LANE_BY_LANE_OF(exp, quick_exp)
LANE_BY_LANE_OF(log, quick_log)

DEVICE void log_add_exp(Lanes a, Lanes b, Lanes &sum) {
    T left[WIDTH], right[WIDTH], sums[WIDTH];
    store(left, a);
    store(right, b);
    EACH_OF(i) log_add_exp(left[i], right[i], sums[i]);
    load(sum, sums);
}

// One factor's entries in each lane, as `Entries`.
struct LaneEntries {
    const T *at;
    long long step;
    const int *factors;
    int by_factor;
    bool in_order, all_alike;  // whether the factors follow each other, or are one
    MEMBER Lanes operator[](int i) const {
        Lanes found;
        const T *row = at + i * step;
        if (!by_factor || all_alike) return row[by_factor * factors[0]];
        if (in_order) {
            __builtin_memcpy(&found, row + factors[0], sizeof(found));
            return found;
        }
        T values[WIDTH];
        for (int lane = 0; lane < WIDTH; ++lane) values[lane] = row[factors[lane]];
        __builtin_memcpy(&found, values, sizeof(found));
        return found;
    }
};

DEVICE LaneEntries entries_of(const T *at, int step, const int *factors, int by_factor, bool in_order, bool all_alike) {
    return LaneEntries{at, step, factors, by_factor, in_order, all_alike};
}
