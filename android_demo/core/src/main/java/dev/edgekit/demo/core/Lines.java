package dev.edgekit.demo.core;

/** Where a benchmark's lines go, each whole and without its end. */
public interface Lines {
    /** Throws RuntimeException where the line cannot be kept: then nothing is left to measure for. */
    void line(String text);
}
