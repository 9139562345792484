package dev.edgekit.demo.core;

import java.io.ByteArrayOutputStream;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.Collections;
import java.util.HashMap;

/**
 * For tests only: the app's benchmark on a desktop's JVM.
 *
 * <p>{@code java -Dbridge=FILE -Dlibrary=FILE -Dversion=TEXT -cp … dev.edgekit.demo.core.JvmRunner
 * JOB.json} (or -) prints the lines that the app writes to a file, and ends with the status that the
 * other runners have.
 */
public final class JvmRunner {
    private JvmRunner() {}

    public static void main(String[] arguments) throws IOException {
        long started = System.nanoTime();
        final OutputStream out = System.out;
        Lines lines =
                new Lines() {
                    @Override
                    public void line(String text) {
                        try {
                            out.write((text + "\n").getBytes("UTF-8"));
                            out.flush();
                        } catch (IOException e) {
                            throw new IllegalStateException(e);
                        }
                    }
                };
        Runtime litert =
                new LiteRtOfTests(
                        System.getProperty("bridge"),
                        System.getProperty("library"),
                        System.getProperty("version"));
        Benchmark benchmark =
                new Benchmark(
                        Collections.singletonList(litert),
                        new Machine(new HashMap<String, Object>(), new JvmLinks()),
                        lines,
                        "cpu");
        int status = benchmark.run(job(arguments), started, new TooLong());
        System.exit(status);
    }

    private static final class TooLong implements java.lang.Runnable {
        @Override
        public void run() {
            java.lang.Runtime.getRuntime().halt(Failure.FAILED);
        }
    }

    private static byte[] job(String[] arguments) throws IOException {
        if (arguments.length != 1) {
            return new byte[0];
        }
        ByteArrayOutputStream made = new ByteArrayOutputStream();
        boolean piped = arguments[0].equals("-");
        try (InputStream in = piped ? System.in : new FileInputStream(arguments[0])) {
            byte[] piece = new byte[1 << 14];
            for (int n = in.read(piece); n > 0; n = in.read(piece)) {
                made.write(piece, 0, n);
            }
        }
        return made.toByteArray();
    }
}
