// The steps of a fused program that are the same for all factor types. Arrays are (states, positions, sets).

KERNEL clear(int count, T *array) {
    EACH_THREAD(t, count) array[t] = 0;
}

// prior + strength * belief; one strength for all, or one for each position.
KERNEL reinforce(int count, const T *prior, const T *belief, T *reinforced, T strength, const T *strengths, int positions,
                 int sets) {
    EACH_THREAD(t, count) {
        const T r = strengths ? strengths[t / sets % positions] : strength;
        reinforced[t] = prior[t] + r * belief[t];
    }
}

// Sums over shares of the slots of variables with very many edges, (shares, states, positions, sets).
KERNEL partial_sums(int count, const T *messages, int message_step, const int *slots, int degree, int share,
                    int positions, int states, int sets, T *partial) {
    EACH_THREAD(t, count) {
        const int b = t % sets, i = t / sets % positions, s = t / sets / positions % states, c = t / sets / positions / states;
        T sum = 0;
        for (int d = c * share; d < degree && d < (c + 1) * share; ++d)
            sum += messages[(long long)s * message_step + slots[(long long)d * positions + i] * (long long)sets + b];
        partial[t] = sum;
    }
}

// Belief = base + the sum over a variable's edges (or over shares of them), or what it is observed to be.
KERNEL refresh(int count, const T *RESTRICT base, T *RESTRICT total, int total_step, const T *RESTRICT messages,
               int message_step, const int *RESTRICT slots, int slot_step, int degree, const int *places, int first,
               int positions, int states, int sets, const bool *mask, const T *certain) {
    EACH_GROUP(group, count, LANES) {
        /* known */
        LANES_OF_SETS(LANES)
#pragma unroll 4
        for (int s = 0; s < states; ++s) {
            T sum[LANES];
            EACH_LANE(lane, group, count, LANES) {
                const int b = SET_OF(lane), i = ENTRY_OF(lane);
                sum[lane] = base[(long long)s * total_step + (long long)(places ? places[i] : first + i) * sets + b];
            }
#pragma unroll
            for (int d = 0; d < degree; ++d) EACH_LANE(lane, group, count, LANES) {
                const int b = SET_OF(lane), i = ENTRY_OF(lane);
                const long long from = slots ? slots[(long long)d * positions + i] * (long long)sets
                                             : (long long)d * slot_step + i * (long long)sets;
                sum[lane] += messages[(long long)s * message_step + from + b];
            }
            EACH_LANE(lane, group, count, LANES) {
                const int b = SET_OF(lane), i = ENTRY_OF(lane);
                const long long place = (long long)(places ? places[i] : first + i) * sets + b;
                const bool observed = mask && mask[place];
                total[(long long)s * total_step + place] = observed ? certain[(long long)s * total_step + place] : sum[lane];
            }
        }
    }
}
