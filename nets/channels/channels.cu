// The channels of `nets.channels`, one function for each, named and ordered as there. T & and Results are results.

DEVICE void sign_forward(T omega, T variance, T &message, T &inverse_deviation, T &scaled, T &square, T &tail) {
    inverse_deviation = (T)1 / sqrt(variance);
    const T u = omega * inverse_deviation, a = (T)SQRT_HALF * fabs(u);
    const T half = (T)0.5 * erfcx_of(a), sign = u < 0 ? (T)-1 : (T)1;
    square = a * a;
    const T near_zero = a * ((T)SLOPE + (T)CUBIC * square), far = (T)0.5 * (log((T)1 / half - exp(-square)) + square);
    const T size = select(a < (T)NEAR_ZERO, near_zero, far);
    message = sign * size;
    tail = sign * half;
    scaled = u * inverse_deviation;
}

DEVICE void sign_backward(T message, T inverse_deviation, T scaled, T square, T tail, T field, T &g, T &gamma) {
    const T size = smaller(fabs(field), (T)LARGEST_FIELD), bounded = field < 0 ? -size : size;
    const T likely = tanh(bounded);
    const T strength = (T)2 * likely / ((T)1 + fabs(likely));
    const T against = (tail < 0 ? -bounded : bounded) - size + square;
    const T denominator = exp(against) - strength * tail;
    g = strength * inverse_deviation * (T)INVERSE_SQRT_2_PI / denominator;
    gamma = g * (scaled + g);
}

// phi(x) / Phi(x)
DEVICE void inverse_mills(T x, T &ratio) {
    const T a = (T)SQRT_HALF * fabs(x), unlikely = (T)2 / erfcx_of(a), gauss = exp(-a * a);
    ratio = (x >= 0 ? gauss / (unlikely - gauss) : (T)1) * unlikely * (T)INVERSE_SQRT_2_PI;
}

// Functions of one entry of a column, the row-th of ``length``.

// What one class other than the label adds to the gradient by its own pre-activation.
DEVICE T pair_term(int k, Entries omega, Entries variance, Entries label, T omega_c, T variance_c) {
    const T inverse_deviation = (T)1 / sqrt(variance[k] + variance_c);
    T ratio;
    inverse_mills((omega_c - omega[k]) * inverse_deviation, ratio);
    return (label[k] - (T)1) * ratio * inverse_deviation;
}

DEVICE void argmax_backward(int row, int length, Entries omega, Entries variance, Entries label, T &g) {
    T omega_c = 0, variance_c = 0;
    for (int k = 0; k < length; ++k) {
        omega_c += label[k] * omega[k];
        variance_c += label[k] * variance[k];
    }
    g = pair_term(row, omega, variance, label, omega_c, variance_c);
    if (label[row] == 0) return;
    T total = 0;
    for (int k = 0; k < length; ++k) total += pair_term(k, omega, variance, label, omega_c, variance_c);
    g -= label[row] * total;
}

// log Phi(x)
DEVICE T log_normal(T x) {
    const T a = (T)SQRT_HALF * fabs(x);
    return x < 0 ? log((T)0.5 * erfcx_of(a)) - a * a : log1p((T)-0.5 * erfcx_of(a) * exp(-a * a));
}

DEVICE void argmax_exact_backward(int row, int length, Entries omega, Entries variance, Entries label, T &g) {
    const T points[] = {POINTS}, weights[] = {WEIGHTS};
    const int number = (int)(sizeof(points) / sizeof(T));
    T share[sizeof(points) / sizeof(T)], omega_c = 0, variance_c = 0, most = -INF, sum = 0, total = 0;
    for (int k = 0; k < length; ++k) {
        omega_c += label[k] * omega[k];
        variance_c += label[k] * variance[k];
    }
    for (int i = 0; i < number; ++i) {
        const T z = omega_c + points[i] * sqrt(variance_c);
        share[i] = log(weights[i]);
        for (int k = 0; k < length; ++k)
            if (label[k] == 0) share[i] += log_normal((z - omega[k]) / sqrt(variance[k]));
        most = larger(most, share[i]);
    }
    for (int i = 0; i < number; ++i) {
        share[i] = exp(share[i] - most);
        sum += share[i];
    }
    // The label's is the others' with the sign turned.
    for (int k = label[row] == 0 ? row : 0; k < (label[row] == 0 ? row + 1 : length); ++k) {
        T mean = 0, ratio;
        const T inverse_deviation = (T)1 / sqrt(variance[k]);
        for (int i = 0; i < number; ++i) {
            inverse_mills((omega_c + points[i] * sqrt(variance_c) - omega[k]) * inverse_deviation, ratio);
            mean += share[i] * ratio;
        }
        total += (label[k] - (T)1) * mean * inverse_deviation / sum;
    }
    g = label[row] == 0 ? total : -total;
}

DEVICE void class_wins(int row, int length, Entries omega, Entries variance, T &wins) {
    const T points[] = {POINTS}, weights[] = {WEIGHTS};
    T won = 0;
    for (int i = 0; i < (int)(sizeof(points) / sizeof(T)); ++i) {
        const T z = omega[row] + points[i] * sqrt(variance[row]);
        T below = weights[i];
        for (int j = 0; j < length; ++j)
            if (j != row) below *= (T)0.5 * erfc((omega[j] - z) / sqrt((T)2 * variance[j]));
        won += below;
    }
    wins = larger(won, (T)1e-30);
}

DEVICE void log_shares(int row, int length, Entries wins, T &log_probability) {
    T total = 0;
    for (int k = 0; k < length; ++k) total += wins[k];
    log_probability = log(wins[row] / total);
}
