#!/usr/bin/env bash
# One run on a GPU: correctness first, then figures. Each part has a limit and a log of its own; one that fails stops no other.
#
#   bash benchmarks/gpu_run.sh FOLDER [PART ...]
#
# FOLDER gets the logs and summary.txt. Parts, the most valuable first: environment correct epoch bandwidths latency peer rounded
# counters sanitize double. What is not there (PyTorch, PGMax, ncu, compute-sanitizer, data) is left out.
#
# TOTAL=600           seconds for all parts together
# PYTHON=python3      with this project's needs, CuPy, pytest and pytest-xdist
# TORCH_PYTHON=       with PyTorch, PEER_PYTHON= with JAX and PGMax; default: PYTHON; "none" for none
# DATA=               a folder with MNIST, to train on
# BACKEND=compiled SCALE=0.0005    a dry run without a GPU
{  # read as a whole before it runs
set -u
OUT=$(mkdir -p "$1" && cd "$1" && pwd)
shift
cd "$(dirname "$0")/.." || exit 1
TOTAL=${TOTAL:-600} PYTHON=${PYTHON:-python3} BACKEND=${BACKEND:-cupy} SCALE=${SCALE:-1} DATA=${DATA:-}
TORCH_PYTHON=${TORCH_PYTHON:-$PYTHON} PEER_PYTHON=${PEER_PYTHON:-$PYTHON}
PARTS=("$@")
[ $# -gt 0 ] || PARTS=(environment correct epoch bandwidths latency peer rounded counters sanitize double)
START=$(date +%s) FAILED=0
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TQDM_DISABLE=1 XLA_PYTHON_CLIENT_PREALLOCATE=false
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-4} OPENBLAS_NUM_THREADS=${OPENBLAS_NUM_THREADS:-4} PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}

say() { echo "[$(($(date +%s) - START)) s] $*" | tee -a "$OUT/summary.txt"; }

# run NAME LIMIT LOG COMMAND...: within its limit and what is left of the time
run() {
    local name=$1 limit=$2 log=$OUT/$3.log left=$((TOTAL - ($(date +%s) - START))) begin
    shift 3
    [ $left -lt 10 ] && { say "$name: left out, no time"; return; }
    [ "$limit" -gt $left ] && limit=$left
    begin=$(date +%s)
    echo "=== $name, at most $limit s: $*" >> "$log"
    timeout -k 5 "$limit" "$@" >> "$log" 2>&1 < /dev/null
    local status=$?
    [ $status -eq 0 ] || FAILED=1
    say "$name: status $status after $(($(date +%s) - begin)) s"
}

has() { "$1" -c "import $2" > /dev/null 2>&1; }

SMALL=() TESTS=(-m gpu tests)
if [ "$BACKEND" != cupy ]; then
    SMALL=(--batches 2 --rounds 1 --batch-sizes 32 --methods bpi)
    TESTS=(tests/factorgraph/test_cupy.py)
fi
EPOCH=("$PYTHON" benchmarks/nets_epoch.py --backend "$BACKEND")
GPU=("$PYTHON" benchmarks/gpu.py --backend "$BACKEND" --scale "$SCALE")

for part in "${PARTS[@]}"; do
    case $part in
    environment)
        run environment 40 environment bash -c "command -v nvidia-smi && nvidia-smi; nproc; free -g; g++ --version | head -1; \
            $PYTHON --version; $PYTHON -m pip list 2> /dev/null | grep -iE '^(cupy|numpy|scipy|torch|jax|nvidia|pgmax|pytest)'; \
            git log -1 --format=%H 2> /dev/null; true"
        ;;
    correct)
        run tests 200 tests "$PYTHON" -m pytest -n "${WORKERS:-8}" --tb=short -rfE "${TESTS[@]}"
        grep -hE '^(FAILED|ERROR)|passed|failed' "$OUT/tests.log" | cut -c1-200 | tail -20 | tee -a "$OUT/summary.txt"
        if [ -n "$DATA" ]; then
            run mnist 100 mnist "$PYTHON" -m nets.cli train mnist --data "$DATA" --hidden 501 501 --epochs 30 --backend "$BACKEND"
            tail -13 "$OUT/mnist.log" | tee -a "$OUT/summary.txt"
        fi
        ;;
    epoch)
        TORCH=()
        [ "$TORCH_PYTHON" != none ] && has "$TORCH_PYTHON" torch && TORCH=(--torch-python "$TORCH_PYTHON")
        run epoch 180 epoch "${EPOCH[@]}" "${TORCH[@]}" "${SMALL[@]}"
        run replicas 40 epoch "${EPOCH[@]}" --replicas 7 --methods mf "${SMALL[@]:0:6}"
        ;;
    bandwidths) run bandwidths 120 gpu "${GPU[@]}" bandwidths ;;
    latency) run latency 60 gpu "${GPU[@]}" latency ;;
    peer)
        PEER=()
        [ "$PEER_PYTHON" != none ] && has "$PEER_PYTHON" pgmax && PEER=(--peer-python "$PEER_PYTHON")
        run peer 150 gpu "${GPU[@]}" peer "${PEER[@]}"
        ;;
    rounded)
        for products in tf32 bfloat16; do
            [ "$BACKEND" = cupy ] && run "$products" 40 epoch "${EPOCH[@]}" --products $products
        done
        ;;
    counters)
        for problem in spin sum parity; do
            NCU=()
            command -v ncu > /dev/null && NCU=(ncu --clock-control none --section SpeedOfLight --section MemoryWorkloadAnalysis
                --section LaunchStats --section Occupancy --section WarpStateStats -k "regex:edge_update|refresh" -s 4 -c 3)
            run "counters of $problem" 60 counters "${NCU[@]}" "${GPU[@]}" bandwidths --only $problem --repeats 1 --no-graphs
        done
        ;;
    sanitize)
        for tool in memcheck initcheck racecheck; do
            SANITIZER=() SOME=()
            command -v compute-sanitizer > /dev/null && SANITIZER=(compute-sanitizer --tool $tool --error-exitcode 9)
            [ $tool = racecheck ] && SOME=(grid tree)  # slow, and only what blocks share can be raced for
            run $tool 60 sanitize "${SANITIZER[@]}" "$PYTHON" benchmarks/gpu_small.py --backend "$BACKEND" "${SOME[@]}"
        done
        ;;
    double) run double 60 gpu "${GPU[@]}" bandwidths --dtype float64 ;;
    *) say "$part: no such part"; FAILED=1 ;;
    esac
done
for log in epoch gpu; do [ -f "$OUT/$log.log" ] && cat "$OUT/$log.log"; done
cat "$OUT/summary.txt"
exit $FAILED
}
