package edgekit.model;

import android.content.Context;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.List;

/**
 * A file among the app's assets, or in a folder that Play fills, with the digest that it had when it
 * was verified.
 */
final class ModelFile {
    private static final int PIECE = 1 << 16;

    private final Context context;
    final String asset;
    private final String sha256;
    private final long sizeBytes;
    private final File folder;

    ModelFile(Context context, String asset, String sha256, long sizeBytes, File folder) {
        this.context = context;
        this.asset = asset;
        this.sha256 = sha256;
        this.sizeBytes = sizeBytes;
        this.folder = folder;
    }

    /** The file itself where it lies in a folder; null where it is an asset. */
    File placed() {
        return folder == null ? null : new File(folder, asset);
    }

    private static InputStream open(Context context, File folder, String asset)
            throws IOException {
        return folder == null
                ? context.getAssets().open(asset)
                : new FileInputStream(new File(folder, asset));
    }

    /** Throws IOException where the asset is not the file that was verified. */
    void check() throws IOException {
        try (InputStream in = open(context, folder, asset)) {
            compare(copy(in, null), asset);
        }
    }

    /**
     * The file's path, for a runtime that opens no assets; copied on first use.
     *
     * <p>The copy lies where backups do not go. With {@code check} it is compared each time.
     */
    File extracted(boolean check) throws IOException {
        if (folder != null) {
            if (check) {
                check();
            }
            return placed();
        }
        File copies = new File(context.getNoBackupFilesDir(), "edgekit");
        File target = new File(copies, sha256);
        if (target.length() == sizeBytes && target.isFile()) {
            if (check) {
                try (InputStream in = new FileInputStream(target)) {
                    compare(copy(in, null), target.getPath());
                }
            }
            return target;
        }
        if (!copies.isDirectory() && !copies.mkdirs()) {
            throw new IOException("cannot make the folder " + copies);
        }
        // Under another name first: a copy that was cut off must not be taken for a whole one.
        File partial = File.createTempFile("copy", ".partial", copies);
        try {
            String digest;
            try (InputStream in = context.getAssets().open(asset);
                    OutputStream out = new FileOutputStream(partial)) {
                digest = copy(in, out);
            }
            if (check) {
                compare(digest, asset);
            }
            if (!partial.renameTo(target)) {
                throw new IOException("cannot rename " + partial + " to " + target);
            }
        } finally {
            if (partial.exists() && !partial.delete()) {
                partial.deleteOnExit();
            }
        }
        return target;
    }

    private void compare(String found, String where) throws IOException {
        if (!found.equals(sha256)) {
            throw new IOException(
                    where + " is not the file that was verified: SHA-256 " + found + ", not " + sha256);
        }
    }

    /** Reads to the end; the SHA-256 of what was read, in hex. */
    private static String copy(InputStream in, OutputStream out) throws IOException {
        MessageDigest digest;
        try {
            digest = MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Android has SHA-256", e);
        }
        byte[] piece = new byte[PIECE];
        for (int count = in.read(piece); count >= 0; count = in.read(piece)) {
            digest.update(piece, 0, count);
            if (out != null) {
                out.write(piece, 0, count);
            }
        }
        StringBuilder hex = new StringBuilder();
        for (byte each : digest.digest()) {
            hex.append(Character.forDigit(each >> 4 & 15, 16)).append(Character.forDigit(each & 15, 16));
        }
        return hex.toString();
    }

    /** The lines of a text that lies there too; each ends in a newline. */
    static List<String> lines(Context context, File folder, String asset) throws IOException {
        ByteArrayOutputStream text = new ByteArrayOutputStream();
        try (InputStream in = open(context, folder, asset)) {
            copy(in, text);
        }
        List<String> lines = new ArrayList<>();
        String all = text.toString("UTF-8");
        int start = 0;
        for (int end = all.indexOf('\n'); end >= 0; end = all.indexOf('\n', start)) {
            lines.add(all.substring(start, end));
            start = end + 1;
        }
        return lines;
    }
}
