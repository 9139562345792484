package dev.edgekit.demo.core;

import java.io.File;
import java.io.IOException;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * What drivers of GPUs and NPUs hold for this process, as runtime_bench reads it: the kernel's DRM
 * tells it in fdinfo, Qualcomm's KGSL in sysfs. What only one of several tells would be too little,
 * and is then not known. https://docs.kernel.org/gpu/drm-usage-stats.html
 */
public final class Drivers {
    /** What a symbolic link points at; Java has had that only since Android 8. */
    public interface Links {
        String target(String path) throws IOException;
    }

    private static final Pattern FIELD =
            Pattern.compile("^(drm-[^:\\s]+):[ \t]*(.*?)[ \t]*$", Pattern.MULTILINE);
    private static final Pattern SIZE = Pattern.compile("([0-9]{1,18})(?:\\s+(KiB|MiB))?");
    private static final Pattern DEVICE =
            Pattern.compile(
                    "/dev/(?:mali|nvmap|nvhost|nvgpu|nvidia|apex_|(dri/|accel/)|(kgsl-)).*");

    /** Bytes; null where they are not known. */
    final Long bytes;
    /** Why they are not. */
    final String why;

    private Drivers(Long bytes, String why) {
        this.bytes = bytes;
        this.why = why;
    }

    static Drivers read(String proc, String sys, Links links) {
        String[] names = new File(proc, "self/fdinfo").list();
        if (names == null) {
            return new Drivers(null, proc + "/self/fdinfo cannot be listed");
        }
        Arrays.sort(names);
        Map<String, Map<String, String>> clients = new LinkedHashMap<>();
        for (String name : names) {
            Map<String, String> fields = fields(text(proc + "/self/fdinfo/" + name));
            if (fields.containsKey("drm-driver")) {
                clients.put(client(fields, name), fields);
            }
        }
        long total = 0;
        boolean told = false;
        String silent = "";
        for (Map<String, String> fields : clients.values()) {
            Long held = held(fields);
            told = true;
            total += held == null ? 0 : held;
            if (held == null && silent.isEmpty()) {
                silent = "the driver " + fields.get("drm-driver") + " does not tell it in fdinfo";
            }
        }
        File kgsl = new File(sys, "class/kgsl/kgsl/proc/" + own(proc));
        boolean adreno = kgsl.isDirectory();
        for (String name : adreno ? new String[] {"gpumem_mapped", "gpumem_unmapped"} : new String[0]) {
            Long held = size(text(new File(kgsl, name).getPath()).trim());
            told = true;
            total += held == null ? 0 : held;
            if (held == null && silent.isEmpty()) {
                silent = new File(kgsl, name) + " has no number";
            }
        }
        for (String name : names) {
            String path = target(links, proc + "/self/fd/" + name);
            Matcher device = DEVICE.matcher(path);
            if (device.matches() && silent.isEmpty()) {
                boolean drm = device.group(1) != null && !clients.isEmpty();
                if (!drm && !(device.group(2) != null && adreno)) {
                    silent = path + " is open, whose driver tells it to root or nobody";
                }
            }
        }
        if (silent.isEmpty() && !told) {
            silent = "no driver of a GPU or an NPU is open";
        }
        return silent.isEmpty() ? new Drivers(total, "") : new Drivers(null, silent);
    }

    /** Who holds buffers: one client may be open several times, and counts once. */
    private static String client(Map<String, String> fields, String name) {
        String id = fields.get("drm-client-id");
        String device = fields.containsKey("drm-pdev") ? fields.get("drm-pdev") : "";
        return id == null ? "file " + name : fields.get("drm-driver") + " " + device + " " + id;
    }

    /** Bytes in memory; "drm-memory" is the older name of "drm-resident". */
    private static Long held(Map<String, String> fields) {
        for (String kind : new String[] {"drm-resident-", "drm-memory-"}) {
            boolean some = false;
            long sum = 0;
            for (Map.Entry<String, String> field : fields.entrySet()) {
                if (field.getKey().startsWith(kind)) {
                    Long each = size(field.getValue());
                    if (each == null) {
                        return null;
                    }
                    some = true;
                    sum += each;
                }
            }
            if (some) {
                return sum;
            }
        }
        return null;
    }

    private static Map<String, String> fields(String text) {
        Map<String, String> found = new LinkedHashMap<>();
        Matcher each = FIELD.matcher(text);
        while (each.find()) {
            found.put(each.group(1), each.group(2));
        }
        return found;
    }

    private static Long size(String text) {
        Matcher size = SIZE.matcher(text);
        if (!size.matches()) {
            return null;
        }
        long unit = size.group(2) == null ? 1 : size.group(2).equals("KiB") ? 1 << 10 : 1 << 20;
        return Long.parseLong(size.group(1)) * unit;
    }

    private static String own(String proc) {
        return text(proc + "/self/stat").split(" ")[0];
    }

    private static String text(String path) {
        String text = Machine.text(path);
        return text == null ? "" : text;
    }

    private static String target(Links links, String path) {
        try {
            return links.target(path);
        } catch (IOException e) {
            return ""; // closed meanwhile
        }
    }
}
