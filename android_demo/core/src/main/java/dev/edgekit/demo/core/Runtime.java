package dev.edgekit.demo.core;

/** What runs files of one kind. Each is one file of the app; this core knows none of them. */
public interface Runtime {
    /** As in a job's "runtime". */
    String name();

    String version();

    ModelKind kind();

    /** Why there is no arena's size, where {@link Engine#arenaBytes} is null. */
    String noArena();

    /** Throws Failure where the runtime is not in this build. */
    void load() throws Failure;

    /**
     * Opens the file. Of what it throws, a Failure is told as it is, everything else as a refusal.
     *
     * @param accelerator "cpu", "gpu" or "npu"; a .pte has its own
     */
    Engine open(String path, ModelDescription description, int threads, String accelerator)
            throws Exception;
}
