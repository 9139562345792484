package dev.edgekit.demo.core;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/** What a benchmark's lines come to. */
public final class Result implements Lines {
    private final List<String> lines = new ArrayList<>();
    private long[] ns = {};
    private Map<String, Object> last;
    private Map<String, Object> memory;
    public long loadNs;
    public long firstNs;

    @Override
    @SuppressWarnings("unchecked")
    public void line(String text) {
        lines.add(text);
        last = (Map<String, Object>) Json.parse(text);
        String event = String.valueOf(last.get("event"));
        if (event.equals("samples")) {
            List<Object> more = (List<Object>) last.get("ns");
            int from = ns.length;
            ns = Arrays.copyOf(ns, from + more.size());
            for (int i = 0; i < more.size(); i++) {
                ns[from + i] = (Long) more.get(i);
            }
        } else if (event.equals("load")) {
            loadNs = (Long) last.get("ns");
        } else if (event.equals("first")) {
            firstNs = (Long) last.get("ns");
        } else if (event.equals("memory")) {
            memory = last;
        }
    }

    public List<String> lines() {
        return lines;
    }

    /** The reason, where it ended with an error; null where it did not. */
    public String error() {
        boolean failed = last != null && "error".equals(last.get("event"));
        return failed ? String.valueOf(last.get("message")) : null;
    }

    public int count() {
        return ns.length;
    }

    /** Of the samples, in nanoseconds, interpolated as numpy.percentile does; 50 is the median. */
    public double percentile(double percent) {
        if (ns.length == 0) {
            throw new IllegalStateException("there are no samples");
        }
        long[] sorted = ns.clone();
        Arrays.sort(sorted);
        double at = percent / 100 * (sorted.length - 1);
        int below = (int) Math.floor(at);
        int above = Math.min(below + 1, sorted.length - 1);
        return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
    }

    /** Peak of resident memory in bytes; -1 where it is not known. */
    public long peakBytes() {
        Object peak = memory == null ? null : memory.get("peak_bytes");
        return peak instanceof Long ? (Long) peak : -1;
    }

    /**
     * How far the middle half of the samples lies apart, as a share of the median. Above a tenth the
     * phone was busy, or its clock moved: measure again.
     */
    public double spread() {
        return (percentile(75) - percentile(25)) / percentile(50);
    }
}
