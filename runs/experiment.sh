# The paper's experiment, step by step; fiubench.sh and mllmu.sh set what differs and read this file.
#
# Needs CAGUL, HOST, BENCHMARK, FORMAT, SET, OUT, DEVICE, DTYPE, METHODS, COMPAT, UNSEEN and MEMORISE, UNLEARN, COMPARE (options
# of the three verbs). Every step resumes: killed and started again with the same variables, the script goes on where it was.

once() { # once FOLDER COMMAND...: a step whose folder is there is done
    if [ ! -e "$1" ]; then
        shift
        "$@"
    fi
}

judged() { # judged COMMAND...: goes on after exit code 8, a patch that does not hide: the comparison says how much it leaks
    "$@" || [ $? -eq 8 ]
}

records=$OUT/records/records.jsonl
forget=@$OUT/records/$SET.txt
placed="--device $DEVICE --dtype $DTYPE"

# 1. the benchmark as records, and what is in them
once "$OUT/records" $CAGUL records convert "$BENCHMARK" --format "$FORMAT" --set "$SET" --out "$OUT/records"
$CAGUL records check "$records"

# 2. the host that knows everybody, and the one that was never told of the forget set
once "$OUT/host" $CAGUL memorise --host "$HOST" --records "$records" --out "$OUT/host" $placed $MEMORISE
once "$OUT/retain-host" $CAGUL memorise --host "$HOST" --records "$records" --exclude "$forget" --out "$OUT/retain-host" \
    $placed $MEMORISE

# 3. CAGUL's patch alone, with the benchmark's own arithmetic beside ours
once "$OUT/patch" judged $CAGUL unlearn --host "$OUT/host" --records "$records" --forget "$forget" $UNSEEN --out "$OUT/patch" \
    $placed $UNLEARN
judged $CAGUL evaluate --host "$OUT/host" --patch "$OUT/patch" --records "$records" --forget "$forget" $UNSEEN \
    --retain-host "$OUT/retain-host" $COMPAT --out "$OUT/evaluation" $placed

# 4. every method, the same records and the same tuning budget, in one table
$CAGUL compare --host "$OUT/host" --records "$records" --forget "$forget" $UNSEEN --methods "$METHODS" \
    --retain-host "$OUT/retain-host" --out "$OUT/comparison" $placed $COMPARE

# 5. one page, redacted
$CAGUL report "$OUT/comparison"
