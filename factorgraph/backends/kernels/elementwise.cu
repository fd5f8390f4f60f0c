// Elementwise forms of `Backend`'s operations, one function for each, named and ordered as there. T & is a result.

// log(exp(a) + exp(b))
DEVICE void log_add_exp(T a, T b, T &sum) {
    const T most = larger(a, b), least = smaller(a, b), apart = most + log1p(exp(least - most));
    sum = select((a != a) | (b != b), a + b, select(most == least, most + (T)0.6931471805599453, apart));
}

// new - old where entries may be infinite: equal ones do not differ, all others infinitely.
DEVICE void difference(T next, T old, T &change) {
    const bool equal = next == old || (next != next && old != old);
    change = equal ? (T)0 : (is_finite(next) && is_finite(old) ? next - old : INF);
}

// Finite entries held within the largest parameter.
DEVICE void hold(T array, T &held) {
    held = is_finite(array) ? larger(smaller(array, (T)LARGEST_PARAMETER), -(T)LARGEST_PARAMETER) : array;
}

DEVICE void erfcx(T x, T &value) { value = erfcx_of(x); }

DEVICE void add_product(T total, T factor, T other, T &sum) { sum = total + factor * other; }
