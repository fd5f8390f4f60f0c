// Elementary functions for the CPU. The header of the standard ones takes longer to compile than a kernel.

#define STANDARD(name) DEVICE T name(T a) { return IS_SINGLE ? (T)__builtin_##name##f((float)a) : (T)__builtin_##name((double)a); }
STANDARD(fabs) STANDARD(sqrt) STANDARD(floor) STANDARD(ceil) STANDARD(round) STANDARD(erf) STANDARD(erfc) STANDARD(lgamma)
STANDARD(sin) STANDARD(cos) STANDARD(tan) STANDARD(asin) STANDARD(acos) STANDARD(atan) STANDARD(sinh) STANDARD(cosh)
STANDARD(cbrt) STANDARD(exp2) STANDARD(log2) STANDARD(log10) STANDARD(asinh) STANDARD(acosh) STANDARD(atanh)
DEVICE T pow(T a, T b) { return IS_SINGLE ? (T)__builtin_powf((float)a, (float)b) : (T)__builtin_pow((double)a, (double)b); }
DEVICE T atan2(T a, T b) { return IS_SINGLE ? (T)__builtin_atan2f((float)a, (float)b) : (T)__builtin_atan2((double)a, (double)b); }

// Those below have no branches, so that loops over them become vector instructions. Errors: at most 3 units in the last place.

// Loops of vector instructions call these with all their lanes; written out at every call they would take minutes to compile.
#define ELEMENTARY _Pragma("omp declare simd notinbranch") static __attribute__((noinline, const))

// The bits of a number; exponents are read and written there.
DEVICE Bits bits_of(T a) {
    Bits bits;
    __builtin_memcpy(&bits, &a, sizeof(T));
    return bits;
}
DEVICE T number_of(Bits bits) {
    T a;
    __builtin_memcpy(&a, &bits, sizeof(T));
    return a;
}

// Either a or b, both of which are worked out: a compiler may not make a branch of it.
DEVICE T select(bool which, T a, T b) {
    const Bits mask = -(Bits)which;
    return number_of((bits_of(a) & mask) | (bits_of(b) & ~mask));
}

DEVICE T fmax(T a, T b) { return a > b || b != b ? a : b; }
DEVICE T fmin(T a, T b) { return a < b || b != b ? a : b; }
DEVICE T copysign(T size, T sign) { return number_of((bits_of(size) & ~SIGN_BIT) | (bits_of(sign) & SIGN_BIT)); }

// A whole number added to it stands in the lowest bits.
#define AS_WHOLE ((T)1.5 * ((Bits)1 << MANTISSA_BITS))

DEVICE T whole(T a) { return (a + AS_WHOLE) - AS_WHOLE; }

// 2^k for whole k within the exponents of normal numbers
DEVICE T power_of_two(T k) {
    return number_of((Bits)((UnsignedBits)(bits_of(k + AS_WHOLE) + EXPONENT_BIAS) << MANTISSA_BITS));
}

// k and exp(r) - 1, where x = k log(2) + r and |r| <= log(2) / 2
DEVICE T reduced_expm1(T x, T &k) {
    k = whole(x * (T)1.4426950408889634);
    const T r = (x - k * (T)LOG_2_HIGH) - k * (T)LOG_2_LOW;
    return r + r * r * expm1_series(r);
}

ELEMENTARY T exp(T x) {
    T k;
    const T bounded = x < (T)LEAST_EXPONENT ? (T)LEAST_EXPONENT : x > (T)LARGEST_EXPONENT ? (T)LARGEST_EXPONENT : x;
    const T rest = reduced_expm1(bounded, k), half = whole((T)0.5 * k);
    return (((T)1 + rest) * power_of_two(half)) * power_of_two(k - half);
}

ELEMENTARY T expm1(T x) {
    T k;
    const T bounded = x < (T)-50 ? (T)-50 : x > (T)LARGEST_EXPONENT ? (T)LARGEST_EXPONENT : x;
    const T rest = reduced_expm1(bounded, k), half = whole((T)0.5 * k);
    const T less = (T)1 - power_of_two(k < (T)60 ? -k : (T)-60);  // nothing where k is 0, so that no digit is lost
    return ((rest + less) * power_of_two(half)) * power_of_two(k - half);
}

// log(x) = e log(2) + 2 atanh(s), where x = 2^e m, 1/sqrt(2) <= m < sqrt(2) and s = (m - 1) / (m + 1)
ELEMENTARY T log(T x) {
    const bool tiny = x < (T)LEAST_NORMAL;
    const T scaled = tiny ? x * ((T)4 * ((Bits)1 << MANTISSA_BITS)) : x;
    const Bits bits = bits_of(scaled) + (ONE_BITS - ROOT_HALF_BITS);  // the exponent grows at sqrt(1/2), not at 1
    const T m = number_of((bits & MANTISSA_MASK) + ROOT_HALF_BITS);
    const Bits exponent = (Bits)((UnsignedBits)bits >> MANTISSA_BITS);
    T e = number_of(exponent | bits_of((T)((Bits)1 << MANTISSA_BITS))) - (T)((Bits)1 << MANTISSA_BITS);
    e -= (T)EXPONENT_BIAS + (tiny ? (T)(MANTISSA_BITS + 2) : (T)0);
    const T f = m - (T)1, s = f / (m + (T)1), z = s * s, square = (T)0.5 * f * f;
    const T found = e * (T)LOG_2_HIGH - ((square - (s * (square + z * atanh_series(z)) + e * (T)LOG_2_LOW)) - f);
    return x > 0 ? (x < INF ? found : x) : x == 0 ? -INF : NOT_GIVEN;
}

ELEMENTARY T log1p(T x) {
    const T above = (T)1 + x, lost = x - (above - (T)1);
    const T found = log(above) + lost / above;
    return x > (T)-1 && x < INF ? found : log(above);
}

ELEMENTARY T tanh(T x) {
    const T size = fabs(x), e = expm1((T)-2 * size);
    return copysign(-e / ((T)2 + e), x);
}

DEVICE T quick_exp(T a) { return exp(a); }
DEVICE T quick_log(T a) { return log(a); }
DEVICE T quick_ratio(T a, T b) { return a / b; }
