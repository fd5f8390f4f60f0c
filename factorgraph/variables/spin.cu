// What spins do of their own, one function for each in spin.py, named and ordered as there. T & is a result.

DEVICE void relax_spin_mean(T mean, T fields, T damping, T &relaxed) {
    relaxed = damping * mean + ((T)1 - damping) * tanh(fields);
}

DEVICE void spin_variance(T mean, T &variance) { variance = (T)1 - mean * mean; }

// What the centre of replicas, all with these fields, sends to one of them.
DEVICE void spin_centre(T fields, T replicas, T strength, T &said) {
    const T coupling = larger(exp((T)-2 * strength), (T)1e-37), odds = exp((T)-2 * fabs(fields));
    const T others = pow((coupling + odds) / ((T)1 + coupling * odds), replicas - (T)1);
    const T size = (T)-0.5 * log((coupling + others) / ((T)1 + coupling * others));
    said = fields < 0 ? -size : size;
}

// A plate's belief and damped mean. Without a power, which is NaN then, the prior stays.
DEVICE void update_spins(T &prior, T &belief, T message, T &mean, T &variance, T power, T reinforcement, T damping) {
    const T old = belief;
    if (power == power) prior = power * old;
    const T field = prior + reinforcement * old + message;
    belief = field;
    const T now = damping == 0 ? tanh(field) : damping * mean + ((T)1 - damping) * tanh(field);
    mean = now;
    variance = (T)1 - now * now;
}
