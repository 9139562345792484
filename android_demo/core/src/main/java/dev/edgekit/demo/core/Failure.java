package dev.edgekit.demo.core;

/** Ends a job with an error event: what is wrong, and what to do about it. */
public final class Failure extends Exception {
    private static final long serialVersionUID = 1;
    public static final int BAD_JOB = 2;
    public static final int NO_RUNTIME = 3;
    public static final int REFUSED = 4;
    public static final int FAILED = 5;

    public final int status;
    public final String code;
    public final String hint;

    public Failure(int status, String code, String message, String hint) {
        super(message);
        this.status = status;
        this.code = code;
        this.hint = hint;
    }

    public Failure(int status, String code, String message) {
        this(status, code, message, "");
    }

    static Failure badJob(String message) {
        return new Failure(BAD_JOB, "bad_job", message);
    }

    static Failure badInputs(String message) {
        return new Failure(BAD_JOB, "bad_inputs", message);
    }

    public static Failure refused(String message) {
        return new Failure(REFUSED, "model_refused", message);
    }

    public static Failure refusedBy(Throwable cause) {
        return refused("the runtime does not load the model: " + words(cause));
    }

    public static Failure runFailed(Throwable cause) {
        return new Failure(
                FAILED, "run_failed", "the model fails when it runs: " + words(cause));
    }

    /** What a throwable says, in one line. */
    public static String words(Throwable cause) {
        String said = cause.getMessage();
        String line = said == null ? cause.getClass().getName() : said.trim();
        line = line.replaceAll("\\s*[\\r\\n]+\\s*", " ");
        return line.length() > 500 ? line.substring(0, 500) : line;
    }
}
