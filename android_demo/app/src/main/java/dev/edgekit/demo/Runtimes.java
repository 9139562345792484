package dev.edgekit.demo;

import dev.edgekit.demo.core.Failure;
import dev.edgekit.demo.core.ModelKind;
import dev.edgekit.demo.core.Runtime;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/** The runtimes of this app. Another one is a file beside this and a line here. */
final class Runtimes {
    static final List<Runtime> ALL =
            Collections.unmodifiableList(
                    Arrays.<Runtime>asList(new LiteRtRuntime(), new ExecuTorchRuntime()));

    private Runtimes() {}

    /** That reads such files; it may not be in this build, which its load() says. */
    static Runtime of(ModelKind kind) {
        for (Runtime each : ALL) {
            if (each.kind() == kind) {
                return each;
            }
        }
        throw new IllegalArgumentException("no runtime for " + kind);
    }

    /** Throws Failure where an APK was built without the library that has this class. */
    static void need(String name, String runtime) throws Failure {
        try {
            Class.forName(name, false, Runtimes.class.getClassLoader());
        } catch (ClassNotFoundException e) {
            throw new Failure(
                    Failure.NO_RUNTIME,
                    "runtime_missing",
                    "this APK was built without " + runtime,
                    "build it with Gradle: android_demo/README.md");
        }
    }
}
