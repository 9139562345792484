package dev.edgekit.demo.core;

import java.io.IOException;

/** A bundle is damaged, was changed, or is none. The message is for people. */
public final class BundleException extends IOException {
    private static final long serialVersionUID = 1;

    public BundleException(String message) {
        super(message);
    }
}
