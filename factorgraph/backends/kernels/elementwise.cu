// Elementwise forms of `Backend`'s operations, one function for each, named and ordered as there. T & is a result.

// log(exp(a) + exp(b))
DEVICE void log_add_exp(T a, T b, T &sum) {
    const T most = larger(a, b), least = smaller(a, b);
    sum = most == least ? most + (T)0.6931471805599453 : most + log1p(exp(least - most));
    if (a != a || b != b) sum = a + b;
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

// atanh(tanh(coupling) tanh(fields)); coupling_odds = exp(-2 coupling) where all couplings are weak, else negative.
DEVICE void spin_products(T fields, T coupling, T coupling_odds, T &message) {
    if (coupling_odds >= 0) {
        const T limit = (T)FIELD_LIMIT;
        const T odds = quick_exp((T)-2 * larger(smaller(fields, limit), -limit));
        message = (T)0.5 * quick_log(quick_ratio((T)1 + coupling_odds * odds, coupling_odds + odds));
        return;
    }
    const T least = smaller(fabs(fields), fabs(coupling)), most = larger(fabs(fields), fabs(coupling));
    const T gap = least == most ? (T)0 : most - least;
    const T correction = (T)0.5 * (log1p(exp((T)-2 * (least + most))) - log1p(exp((T)-2 * gap)));
    message = sign_of(fields) * sign_of(coupling) * (least == 0 ? least : least + correction);
}

// The max-product form of spin_products.
DEVICE void spin_maxima(T fields, T coupling, T &message) {
    message = sign_of(fields) * sign_of(coupling) * smaller(fabs(fields), fabs(coupling));
}

DEVICE void erfcx(T x, T &value) { value = erfcx_of(x); }

DEVICE void add_product(T total, T factor, T other, T &sum) { sum = total + factor * other; }

DEVICE void relax_spin_mean(T mean, T fields, T damping, T &relaxed) {
    relaxed = damping * mean + ((T)1 - damping) * tanh(fields);
}

// What the centre of replicas, all with these fields, sends to one of them.
DEVICE void spin_centre(T fields, T replicas, T strength, T &said) {
    const T coupling = larger(exp((T)-2 * strength), (T)1e-37), odds = exp((T)-2 * fabs(fields));
    const T others = pow((coupling + odds) / ((T)1 + coupling * odds), replicas - (T)1);
    const T size = (T)-0.5 * log((coupling + others) / ((T)1 + coupling * others));
    said = fields < 0 ? -size : size;
}

DEVICE void spin_variance(T mean, T &variance) { variance = (T)1 - mean * mean; }
