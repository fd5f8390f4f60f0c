// The channels of `nets.channels`, one function for each, named and ordered as there. T & and Results are results.

DEVICE void sign_forward(T omega, T variance, T &message, T &inverse_deviation, T &scaled, T &square, T &tail) {
    inverse_deviation = (T)1 / sqrt(variance);
    const T u = omega * inverse_deviation, a = (T)SQRT_HALF * fabs(u);
    const T half = (T)0.5 * erfcx_of(a), sign = u < 0 ? (T)-1 : (T)1;
    square = a * a;
    const T size = a < (T)NEAR_ZERO ? a * ((T)SLOPE + (T)CUBIC * square)
                                    : (T)0.5 * (log((T)1 / half - exp(-square)) + square);
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

DEVICE void argmax_backward(int length, Entries omega, Entries variance, Entries label, Results g) {
    T omega_c = 0, variance_c = 0, total = 0;
    for (int k = 0; k < length; ++k) {
        omega_c += label[k] * omega[k];
        variance_c += label[k] * variance[k];
    }
    for (int k = 0; k < length; ++k) {
        const T inverse_deviation = (T)1 / sqrt(variance[k] + variance_c);
        T ratio;
        inverse_mills((omega_c - omega[k]) * inverse_deviation, ratio);
        g[k] = (label[k] - (T)1) * ratio * inverse_deviation;
        total += g[k];
    }
    for (int k = 0; k < length; ++k) g[k] -= label[k] * total;
}

// log Phi(x)
DEVICE T log_normal(T x) {
    const T a = (T)SQRT_HALF * fabs(x);
    return x < 0 ? log((T)0.5 * erfcx_of(a)) - a * a : log1p((T)-0.5 * erfcx_of(a) * exp(-a * a));
}

DEVICE void argmax_exact_backward(int length, Entries omega, Entries variance, Entries label, Results g) {
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
    for (int k = 0; k < length; ++k) {
        T mean = 0, ratio;
        const T inverse_deviation = (T)1 / sqrt(variance[k]);
        for (int i = 0; i < number; ++i) {
            inverse_mills((omega_c + points[i] * sqrt(variance_c) - omega[k]) * inverse_deviation, ratio);
            mean += share[i] * ratio;
        }
        g[k] = (label[k] - (T)1) * mean * inverse_deviation / sum;
        total += g[k];
    }
    for (int k = 0; k < length; ++k) g[k] -= label[k] * total;
}

DEVICE void argmax_forward(int length, Entries omega, Entries variance, Results log_probability) {
    const T points[] = {POINTS}, weights[] = {WEIGHTS};
    T total = 0;
    for (int k = 0; k < length; ++k) {
        T won = 0;
        for (int i = 0; i < (int)(sizeof(points) / sizeof(T)); ++i) {
            const T z = omega[k] + points[i] * sqrt(variance[k]);
            T below = weights[i];
            for (int j = 0; j < length; ++j)
                if (j != k) below *= (T)0.5 * erfc((omega[j] - z) / sqrt((T)2 * variance[j]));
            won += below;
        }
        log_probability[k] = larger(won, (T)1e-30);
        total += log_probability[k];
    }
    for (int k = 0; k < length; ++k) log_probability[k] = log(log_probability[k] / total);
}
