// Sums and gathers of `Backend`, one kernel for each, named as there. An array is (outer, length, inner) around the axis that
// is gathered or reduced; every sum has a fixed order, so that two runs give the same bits.

KERNEL sum_slots(int count, const T *array, int length, int inner, const int *slots, int degree, int positions, T *sums) {
    EACH_THREAD(t, count) {
        const int i = t % inner, position = t / inner % positions, o = t / inner / positions;
        const T *row = array + (long long)o * length * inner + i;
        T sum = 0;
        for (int d = 0; d < degree; ++d) sum += row[(long long)slots[d * positions + position] * inner];
        sums[t] = sum;
    }
}

KERNEL gather_subtract(int count, const T *totals, int variables, const int *places, int first_place, const T *messages,
                       int slots, const int *edges, int first_edge, int number, int inner, T *cavities) {
    EACH_THREAD(t, count) {
        const int i = t % inner, e = t / inner % number, o = t / inner / number;
        const long long place = (long long)o * variables + (places ? places[e] : first_place + e);
        const long long edge = (long long)o * slots + (edges ? edges[e] : first_edge + e);
        cavities[t] = totals[place * inner + i] - messages[edge * inner + i];
    }
}

// Adds values to the entries that an index names, those of one entry in the order in which they come: ``order`` sorts by entry.
KERNEL add_at(int count, T *array, int length, int inner, const int *index, const int *order, int number, const T *values) {
    EACH_THREAD(t, count) {
        const int i = t % inner, p = t / inner % number, o = t / inner / number, entry = index[order[p]];
        if (p > 0 && index[order[p - 1]] == entry) continue;
        T sum = 0;
        for (int q = p; q < number && index[order[q]] == entry; ++q)
            sum += values[((long long)o * number + order[q]) * inner + i];
        array[((long long)o * length + entry) * inner + i] += sum;
    }
}

KERNEL log_sum_exp(int count, const T *array, int length, int inner, T *result) {
    EACH_THREAD(t, count) {
        const T *row = array + (long long)(t / inner) * length * inner + t % inner;
        T most = -INF;
        for (int s = 0; s < length; ++s) most = larger(most, row[(long long)s * inner]);
        const T shift = is_finite(most) ? most : (T)0;
        T sum = 0;
        for (int s = 0; s < length; ++s) sum += exp(row[(long long)s * inner] - shift);
        result[t] = log(sum) + shift;
    }
}

KERNEL subtract_largest(int count, const T *array, int length, int inner, T *shifted) {
    EACH_THREAD(t, count) {
        T most = -INF;
        for (int s = 0; s < length; ++s) most = larger(most, array[(long long)s * inner + t]);
        const T shift = is_finite(most) ? most : (T)0;
        for (int s = 0; s < length; ++s) shifted[(long long)s * inner + t] = array[(long long)s * inner + t] - shift;
    }
}

// One port's messages of tabulated factors, for tables of any size: a thread for each state of each factor goes through all
// joint states of the other ports twice, for the largest term and for the sum. Weights are (all states of all ports, F, sets).
KERNEL table_marginals(int count, const T *table, int table_factors, const T *weights, const int *sizes, const int *offsets,
                       int arity, int port, int others, int factors, int sets, int maximum, T *messages) {
    EACH_THREAD(t, count) {
        const int b = t % sets, f = t / sets % factors, state = t / sets / factors;
        T most = -INF, sum = 0;
        for (int pass = 0; pass < (maximum ? 1 : 2); ++pass) {
            const T shift = is_finite(most) ? most : (T)0;
            for (int joint = 0; joint < others; ++joint) {
                long long entry = 0, stride = 1;
                T weight = 0;
                for (int axis = arity - 1, rest = joint; axis >= 0; --axis) {
                    const int digit = axis == port ? state : rest % sizes[axis];
                    if (axis != port) {
                        rest /= sizes[axis];
                        weight += weights[((long long)(offsets[axis] + digit) * factors + f) * sets + b];
                    }
                    entry += digit * stride;
                    stride *= sizes[axis];
                }
                weight += table[entry * table_factors + (table_factors == 1 ? 0 : f)];
                if (pass == 0)
                    most = larger(most, weight);
                else
                    sum += exp(weight - shift);
            }
        }
        messages[t] = maximum ? most : log(sum) + (is_finite(most) ? most : (T)0);
    }
}
