// Messages of products of spins, one function for each in spin_products.py, named and ordered as there. T & is a result.

DEVICE T weak_product(T fields, T coupling_odds) {
    const T limit = (T)FIELD_LIMIT, odds = quick_exp((T)-2 * larger(smaller(fields, limit), -limit));
    return (T)0.5 * quick_log(quick_ratio((T)1 + coupling_odds * odds, coupling_odds + odds));
}

// atanh(tanh(coupling) tanh(fields)); coupling_odds = exp(-2 coupling) where all couplings are weak, else negative or NaN.
DEVICE void spin_products(T fields, T coupling, T coupling_odds, T &message) {
    if (coupling_odds >= 0) {
        message = weak_product(fields, coupling_odds);
        return;
    }
    const T least = smaller(fabs(fields), fabs(coupling)), most = larger(fabs(fields), fabs(coupling));
    const T gap = select(least == most, (T)0, most - least);
    const T correction = (T)0.5 * (log1p(exp((T)-2 * (least + most))) - log1p(exp((T)-2 * gap)));
    message = sign_of(fields) * sign_of(coupling) * select(least == 0, least, least + correction);
}

// The max-product form of spin_products.
DEVICE void spin_maxima(T fields, T coupling, T &message) {
    message = sign_of(fields) * sign_of(coupling) * smaller(fabs(fields), fabs(coupling));
}
