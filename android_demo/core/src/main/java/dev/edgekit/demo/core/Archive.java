package dev.edgekit.demo.core;

import java.io.BufferedInputStream;
import java.io.EOFException;
import java.io.File;
import java.io.FileOutputStream;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.HashSet;
import java.util.Locale;
import java.util.Set;
import java.util.zip.GZIPInputStream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipException;
import java.util.zip.ZipInputStream;

/**
 * Unpacks a bundle: the .tar.gz of {@code edgekit bundle build --for linux}, or a .zip of its folder.
 *
 * <p>Nothing in it is trusted: plain files and folders only, safe names, and bounds that hold before
 * anything is written.
 */
public final class Archive {
    static final int MOST_FILES = 10_000;
    static final int MOST_NAME_BYTES = 1024;
    static final int MOST_PART_BYTES = 255;
    /** Deflate packs zeros 1000 times. Weights that pack 100 times would be no model. */
    static final int MOST_RATIO = 100;

    static final long ALWAYS_ALLOWED = 64L << 20;
    static final long MOST_BYTES = 2L << 30;
    private static final int BLOCK = 512;

    private final Counted packed;
    private final File target;
    private final Set<String> seen = new HashSet<>();
    private long written;
    private int entries;

    private Archive(Counted packed, File target) {
        this.packed = packed;
        this.target = target;
    }

    private static final class Counted extends FilterInputStream {
        long count;

        Counted(InputStream in) {
            super(in);
        }

        @Override
        public int read() throws IOException {
            int got = in.read();
            count += got < 0 ? 0 : 1;
            return got;
        }

        @Override
        public int read(byte[] to, int from, int length) throws IOException {
            int got = in.read(to, from, length);
            count += Math.max(0, got);
            return got;
        }

        @Override
        public boolean markSupported() {
            return false;
        }
    }

    /** Into an empty folder. Throws BundleException where it is refused; the folder is then junk. */
    public static void unpack(InputStream from, File target) throws IOException {
        Counted packed = new Counted(from);
        BufferedInputStream in = new BufferedInputStream(packed, 1 << 16);
        in.mark(4);
        int first = in.read();
        int second = in.read();
        in.reset();
        Archive archive = new Archive(packed, target);
        try {
            if (first == 0x1f && second == 0x8b) {
                archive.tar(new GZIPInputStream(in, 1 << 16));
            } else if (first == 'P' && second == 'K') {
                archive.zip(new ZipInputStream(in));
            } else {
                throw new BundleException("it is neither a .tar.gz nor a .zip of a bundle");
            }
        } catch (EOFException e) {
            throw new BundleException("it is cut off");
        } catch (ZipException e) {
            throw new BundleException("it is damaged: " + Failure.words(e));
        } catch (IllegalArgumentException e) { // of ZipInputStream, for names that are no UTF-8
            throw new BundleException("it is damaged: " + Failure.words(e));
        }
        if (archive.seen.isEmpty()) {
            throw new BundleException("there is nothing in it");
        }
    }

    private void zip(ZipInputStream zip) throws IOException {
        for (ZipEntry entry = zip.getNextEntry(); entry != null; entry = zip.getNextEntry()) {
            count();
            if (!entry.isDirectory()) {
                write(entry.getName(), zip, -1);
            }
        }
    }

    private void tar(InputStream tar) throws IOException {
        byte[] header = new byte[BLOCK];
        while (true) {
            fill(tar, header);
            if (isZero(header)) {
                return;
            }
            count();
            checkSum(header);
            long size = octal(header, 124, 12);
            String prefix = text(header, 345, 155);
            String name = (prefix.isEmpty() ? "" : prefix + "/") + text(header, 0, 100);
            char kind = (char) header[156];
            if (kind == '5' && size == 0) {
                continue;
            }
            if (kind != '0' && kind != 0) {
                throw new BundleException(
                        told(name) + " is no plain file (a link, or a name too long for a tarball)");
            }
            write(name, tar, size);
            byte[] rest = new byte[(int) ((BLOCK - size % BLOCK) % BLOCK)];
            fill(tar, rest);
        }
    }

    private void count() throws BundleException {
        if (++entries > MOST_FILES) {
            throw new BundleException("there are more than " + MOST_FILES + " files in it");
        }
    }

    /** Files of an archive; of size -1 until the entry ends. */
    private void write(String name, InputStream in, long size) throws IOException {
        checkPath(name);
        // What a file system that ignores case takes for the same.
        if (!seen.add(name.toLowerCase(Locale.ROOT))) {
            throw new BundleException(told(name) + " is there twice");
        }
        if (size > MOST_BYTES) {
            throw tooLarge();
        }
        File file = new File(target, name);
        File folder = file.getParentFile();
        if (!folder.isDirectory() && !folder.mkdirs()) {
            throw new BundleException(told(name) + ": its folder cannot be made");
        }
        byte[] piece = new byte[1 << 16];
        try (OutputStream out = new FileOutputStream(file)) {
            long left = size < 0 ? Long.MAX_VALUE : size;
            while (left > 0) {
                int got = in.read(piece, 0, (int) Math.min(piece.length, left));
                if (got < 0) {
                    if (size >= 0) {
                        throw new EOFException();
                    }
                    return;
                }
                left -= got;
                written += got;
                boolean unlikely = written > ALWAYS_ALLOWED + MOST_RATIO * packed.count;
                if (unlikely || written > MOST_BYTES) {
                    throw tooLarge();
                }
                out.write(piece, 0, got);
            }
        }
    }

    private static BundleException tooLarge() {
        return new BundleException("it unpacks to more than a bundle can have");
    }

    /** Refuses what is no plain relative path, or may mean something else elsewhere. */
    static void checkPath(String path) throws BundleException {
        boolean good = !path.isEmpty() && path.getBytes(Json.UTF_8).length <= MOST_NAME_BYTES;
        for (String part : path.split("/", -1)) {
            good = good && !part.isEmpty() && !part.equals(".") && !part.equals("..");
            good = good && part.getBytes(Json.UTF_8).length <= MOST_PART_BYTES;
        }
        for (int i = 0; i < path.length(); i++) {
            char c = path.charAt(i);
            good = good && c >= ' ' && c != 0x7f && !(c >= 0x80 && c < 0xa0) && c != '\\' && c != ':';
        }
        if (!good) {
            throw new BundleException("the path " + told(path) + " may not be in a bundle");
        }
    }

    static String told(String name) {
        String shown = name.length() > 60 ? name.substring(0, 60) + "…" : name;
        return "'" + shown.replaceAll("\\p{Cntrl}", "?") + "'";
    }

    private static void fill(InputStream in, byte[] to) throws IOException {
        for (int got = 0; got < to.length; ) {
            int n = in.read(to, got, to.length - got);
            if (n < 0) {
                throw new EOFException();
            }
            got += n;
        }
    }

    private static boolean isZero(byte[] block) {
        for (byte each : block) {
            if (each != 0) {
                return false;
            }
        }
        return true;
    }

    private static void checkSum(byte[] header) throws BundleException {
        long sum = 0;
        for (int i = 0; i < BLOCK; i++) {
            sum += i >= 148 && i < 156 ? ' ' : header[i] & 0xFF;
        }
        if (sum != octal(header, 148, 8)) {
            throw new BundleException("it is damaged: a header's sum is wrong");
        }
    }

    private static long octal(byte[] header, int from, int length) throws BundleException {
        String digits = text(header, from, length).trim();
        if (!digits.matches("[0-7]{1,12}")) {
            throw new BundleException("it is damaged: a header has no number where one belongs");
        }
        return Long.parseLong(digits, 8);
    }

    private static String text(byte[] header, int from, int length) {
        int end = from;
        while (end < from + length && header[end] != 0) {
            end++;
        }
        return new String(header, from, end - from, Json.UTF_8);
    }
}
