// The steps of a fused program that are the same for all factor types. Arrays are (states, positions, sets).

// prior + strength * belief; one strength for all, or one for each position.
KERNEL reinforce(int count, const T *prior, const T *belief, T *reinforced, T strength, const T *strengths, int positions,
                 int sets) {
    EACH_THREAD(t, count) {
        const T r = strengths ? strengths[t / sets % positions] : strength;
        reinforced[t] = prior[t] + r * belief[t];
    }
}

// Sums over shares of the slots of variables with very many edges, (shares, states, positions, sets).
KERNEL partial_sums(int count, const T *messages, long long message_step, const int *slots, int degree, int share,
                    int positions, int states, int sets, T *partial) {
    EACH_THREAD(t, count) {
        const int b = t % sets, i = t / sets % positions, s = t / sets / positions % states, c = t / sets / positions / states;
        T sum = 0;
        for (int d = c * share; d < degree && d < (c + 1) * share; ++d)
            sum += messages[s * message_step + (long long)slots[d * positions + i] * sets + b];
        partial[t] = sum;
    }
}

// Belief = base + the sum over a variable's edges (or over shares of them), or what it is observed to be.
KERNEL refresh(int count, const T *base, T *total, long long total_step, const T *messages, long long message_step,
               const int *slots, long long slot_step, int degree, const int *places, int first, int positions, int states,
               int sets, const bool *mask, const T *certain) {
    EACH_THREAD(t, count) {
        const int b = t % sets, i = t / sets;
        const long long place = (long long)(places ? places[i] : first + i) * sets + b;
        const bool observed = mask && mask[place];
        for (int s = 0; s < states; ++s) {
            T sum = base[s * total_step + place];
            for (int d = 0; d < degree; ++d) {
                const long long from = slots ? (long long)slots[d * positions + i] * sets : d * slot_step + (long long)i * sets;
                sum += messages[s * message_step + from + b];
            }
            total[s * total_step + place] = observed ? certain[s * total_step + place] : sum;
        }
    }
}
