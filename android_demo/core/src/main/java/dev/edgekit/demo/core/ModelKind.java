package dev.edgekit.demo.core;

import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;

/** What kind of model a file is, by its first bytes. */
public enum ModelKind {
    TFLITE("tflite"),
    EXECUTORCH("executorch");

    /** As in a manifest. */
    public final String format;

    ModelKind(String format) {
        this.format = format;
    }

    /** Null where no runtime of the app reads such a format. */
    static ModelKind named(String format) {
        for (ModelKind each : values()) {
            if (each.format.equals(format)) {
                return each;
            }
        }
        return null;
    }

    static ModelKind of(String path) throws Failure {
        byte[] head = new byte[8];
        int got = 0;
        try (InputStream in = new FileInputStream(path)) {
            for (int n = 0; n >= 0 && got < head.length; n = in.read(head, got, head.length - got)) {
                got += n;
            }
        } catch (IOException e) {
            throw Failure.refused("cannot read '" + path + "': " + Failure.words(e));
        }
        if (got == 8 && head[4] == 'T' && head[5] == 'F' && head[6] == 'L' && head[7] == '3') {
            return TFLITE;
        }
        if (got == 8 && head[4] == 'E' && head[5] == 'T') {
            return EXECUTORCH;
        }
        throw Failure.refused("'" + path + "' is neither a .tflite nor a .pte");
    }
}
