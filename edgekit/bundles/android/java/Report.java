package edgekit.model;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** What was applied when a model was opened, and what refused it before. */
public final class Report {
    private final Accelerator applied;
    private final List<String> refusals;
    private final List<String> backends;
    private final int threads;
    private final boolean hashChecked;
    private final String caveat;

    Report(
            Accelerator applied,
            List<String> refusals,
            List<String> backends,
            int threads,
            boolean hashChecked,
            String caveat) {
        this.applied = applied;
        this.refusals = Collections.unmodifiableList(new ArrayList<>(refusals));
        this.backends = Collections.unmodifiableList(new ArrayList<>(backends));
        this.threads = threads;
        this.hashChecked = hashChecked;
        this.caveat = caveat;
    }

    /** The accelerator that the runtime took the model for; see {@link #getCaveat}. */
    public Accelerator getApplied() {
        return applied;
    }

    /** "GPU: reason" for each that was tried before and refused the model, in that order. */
    public List<String> getRefusals() {
        return refusals;
    }

    /** Names of ExecuTorch's backends that the .pte calls; empty with a .tflite. */
    public List<String> getBackends() {
        return backends;
    }

    /** Threads that were asked for; 0 where their number was left to the runtime. */
    public int getThreads() {
        return threads;
    }

    public boolean isHashChecked() {
        return hashChecked;
    }

    /** What the runtime does not tell, in a sentence; may be empty. */
    public String getCaveat() {
        return caveat;
    }

    @Override
    public String toString() {
        StringBuilder text = new StringBuilder(applied.toString());
        if (!backends.isEmpty()) {
            text.append(" ").append(backends);
        }
        if (applied == Accelerator.CPU) {
            text.append(threads == 0 ? ", threads as the runtime likes" : ", threads: " + threads);
        }
        for (String refusal : refusals) {
            text.append("; refused by ").append(refusal);
        }
        text.append(hashChecked ? "" : "; the file's hash was not checked");
        return text.append(caveat.isEmpty() ? "" : ". " + caveat).toString();
    }
}
