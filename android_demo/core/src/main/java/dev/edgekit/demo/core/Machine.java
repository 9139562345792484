package dev.edgekit.demo.core;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;

/**
 * What the machine is and does now, from /proc and /sys. Android keeps much of it from apps: what
 * cannot be read is told with the reason, never guessed.
 */
public final class Machine {
    private static final long TICKS_A_SECOND = 100; // Linux's USER_HZ, on every phone

    private final String proc;
    private final String sys;
    /** What only Android knows, by the hello event's keys; the emulator says here that it is one. */
    private final Map<String, Object> known;

    private final Drivers.Links links;

    public Machine(Map<String, Object> known, Drivers.Links links) {
        this("/proc", "/sys", known, links);
    }

    Machine(String proc, String sys, Map<String, Object> known, Drivers.Links links) {
        this.proc = proc;
        this.sys = sys;
        this.known = known;
        this.links = links;
    }

    /** A small file's text; null where it cannot be read. */
    static String text(String path) {
        return read(path).text;
    }

    private static final class Read {
        final String text;
        final String why;

        Read(String text, String why) {
            this.text = text;
            this.why = why;
        }
    }

    private static Read read(String path) {
        ByteArrayOutputStream made = new ByteArrayOutputStream();
        try (InputStream in = new FileInputStream(path)) {
            byte[] piece = new byte[1 << 14];
            for (int n = in.read(piece); n > 0; n = in.read(piece)) {
                made.write(piece, 0, n);
            }
            return new Read(new String(made.toByteArray(), Json.UTF_8).trim(), "");
        } catch (IOException e) {
            // "PATH (No such file or directory)", or Android's "PATH: open failed: EACCES (…)"
            String said = Failure.words(e);
            int open = said.lastIndexOf('(');
            boolean closed = open >= 0 && said.endsWith(")");
            String why = closed ? said.substring(open + 1, said.length() - 1) : said;
            return new Read(null, path + ": " + why);
        }
    }

    private static String value(String text, String key) {
        for (String line : text == null ? new String[0] : text.split("\n")) {
            int colon = line.indexOf(':');
            if (colon > 0 && line.substring(0, colon).trim().equals(key)) {
                String value = line.substring(colon + 1).trim();
                if (!value.isEmpty()) {
                    return value;
                }
            }
        }
        return null;
    }

    private static Long kilobytes(String text, String key) {
        String value = value(text, key);
        return value == null ? null : Long.parseLong(value.split(" ")[0]) * 1024;
    }

    /** How many of a list of the kernel's, "0-3,6". */
    private static Integer counted(String list) {
        if (list == null) {
            return null;
        }
        int count = 0;
        for (String range : list.split(",")) {
            String[] ends = range.trim().split("-");
            count += Integer.parseInt(ends[ends.length - 1]) - Integer.parseInt(ends[0]) + 1;
        }
        return count;
    }

    Map<String, Object> describe() {
        Map<String, Object> found = new LinkedHashMap<>();
        String arch = System.getProperty("os.arch", "");
        found.put("system", System.getProperty("os.name"));
        found.put("machine", arch.equals("amd64") ? "x86_64" : arch);
        found.put("kernel", System.getProperty("os.version"));
        found.put("cores", counted(read(sys + "/devices/system/cpu/online").text));
        found.put("usable_cores", counted(value(read(proc + "/self/status").text, "Cpus_allowed_list")));
        found.put("cpu", cpu());
        found.put("board", read(proc + "/device-tree/model").text);
        found.put("memory_bytes", kilobytes(read(proc + "/meminfo").text, "MemTotal"));
        found.putAll(known);
        for (String key : new ArrayList<>(found.keySet())) {
            if (found.get(key) == null || found.get(key).equals("")) {
                found.remove(key);
            }
        }
        return found;
    }

    private String cpu() {
        String text = read(proc + "/cpuinfo").text;
        for (String key : Arrays.asList("model name", "Model", "Hardware")) {
            if (value(text, key) != null) {
                return value(text, key);
            }
        }
        String part = value(text, "CPU part"); // Arm kernels give numbers instead of a name
        return part == null ? null : "implementer " + value(text, "CPU implementer") + " part " + part;
    }

    private static TreeSet<File> folders(String parent, String prefix) {
        TreeSet<File> found = new TreeSet<>();
        File[] listed = new File(parent).listFiles();
        for (File each : listed == null ? new File[0] : listed) {
            if (each.getName().matches(prefix + "[0-9]+")) {
                found.add(each);
            }
        }
        return found;
    }

    Map<String, Object> environment() {
        Map<String, Object> found = new LinkedHashMap<>();
        Map<String, Object> unavailable = new LinkedHashMap<>();
        String cpus = sys + "/devices/system/cpu";
        String[][] clocks = {
            {"governors", "scaling_governor"},
            {"cpu_khz", "scaling_cur_freq"},
            {"cpu_max_khz", "scaling_max_freq"},
        };
        for (String[] clock : clocks) {
            Map<String, Object> values = new LinkedHashMap<>();
            String why = "no cpufreq in " + cpus;
            for (File policy : folders(cpus + "/cpufreq", "policy")) {
                Read one = read(policy + "/" + clock[1]);
                if (one.text == null || one.text.isEmpty()) {
                    why = one.why.isEmpty() ? why : one.why;
                } else if (one.text.matches("[0-9]{1,18}")) {
                    values.put(policy.getName(), Long.valueOf(one.text));
                } else {
                    values.put(policy.getName(), one.text);
                }
            }
            if (values.isEmpty()) {
                unavailable.put(clock[0], why);
            } else {
                found.put(clock[0], values);
            }
        }
        temperatures(found, unavailable);
        Read load = read(proc + "/loadavg");
        if (load.text == null) {
            unavailable.put("load_average", load.why);
        } else {
            List<Object> values = new ArrayList<>();
            for (String part : load.text.split(" ")) {
                if (values.size() < 3) {
                    values.add(Double.valueOf(part));
                }
            }
            found.put("load_average", values);
        }
        unavailable.put("throttled", "phones have no vcgencmd");
        found.put("unavailable", unavailable);
        return found;
    }

    private void temperatures(Map<String, Object> found, Map<String, Object> unavailable) {
        Map<String, Object> values = new LinkedHashMap<>();
        String why = "no thermal zone in " + sys + "/class/thermal";
        for (File zone : folders(sys + "/class/thermal", "thermal_zone")) {
            Read kind = read(zone + "/type");
            Read one = read(zone + "/temp");
            double celsius;
            try {
                celsius = Integer.parseInt(one.text == null ? "" : one.text) / 1000.0;
            } catch (NumberFormatException e) {
                why = one.text == null ? one.why : zone + "/temp: '" + one.text + "' is not a number";
                continue;
            }
            if (celsius <= -100) { // -256 °C is how some drivers say that the sensor is off
                why = zone + "/temp: " + celsius + " °C is a dummy";
                continue;
            }
            values.put(zone.getName() + ":" + (kind.text == null ? "?" : kind.text), celsius);
        }
        if (values.isEmpty()) {
            unavailable.put("temperatures_c", why);
        } else {
            found.put("temperatures_c", values);
        }
    }

    /** Resident bytes now; null where it cannot be read. */
    Long residentBytes() {
        return kilobytes(read(proc + "/self/status").text, "VmRSS");
    }

    /**
     * What is held when the last inference is done, in bytes.
     *
     * @param unavailable gets the reasons for what is not known
     */
    Map<String, Object> memory(String model, Map<String, Object> unavailable) {
        Map<String, Object> found = new LinkedHashMap<>();
        Read status = read(proc + "/self/status");
        Long peak = kilobytes(status.text, "VmHWM");
        if (peak != null) {
            found.put("peak_bytes", peak);
        }
        Long swap = kilobytes(status.text, "VmSwap");
        if (swap == null) {
            unavailable.put(
                    "swap_bytes", status.text == null ? status.why : proc + "/self/status has no VmSwap");
        } else {
            found.put("swap_bytes", swap);
        }
        Read maps = read(proc + "/self/smaps");
        Map<String, Long> mapped = mapped(maps.text == null ? "" : maps.text, real(model));
        for (String kind : Arrays.asList("Rss", "Pss")) {
            String key = "model_" + kind.toLowerCase(java.util.Locale.ROOT) + "_bytes";
            if (mapped.containsKey(kind)) {
                found.put(key, mapped.get(kind) * 1024);
            } else if (maps.text == null) {
                unavailable.put(key, maps.why);
            } else {
                unavailable.put(key, "the runtime keeps no mapping of the model's file");
            }
        }
        Drivers drivers = Drivers.read(proc, sys, links);
        if (drivers.bytes == null) {
            unavailable.put("driver_bytes", drivers.why);
        } else {
            found.put("driver_bytes", drivers.bytes);
        }
        return found;
    }

    private static String real(String path) {
        try {
            return new File(path).getCanonicalPath();
        } catch (IOException e) {
            return path;
        }
    }

    /** Sums of Rss and Pss, in kB, over the mappings of a file in the text of smaps. */
    static Map<String, Long> mapped(String maps, String path) {
        Map<String, Long> sums = new LinkedHashMap<>();
        boolean inside = false;
        for (String line : maps.split("\n")) {
            String[] fields = line.split("\\s+", 6);
            if (!fields[0].endsWith(":")) { // "7f44…-7f45… r--s 00000000 fe:00 4039279 PATH"
                inside = fields.length == 6 && fields[5].trim().equals(path);
            } else if (inside && (fields[0].equals("Rss:") || fields[0].equals("Pss:"))) {
                String kind = fields[0].substring(0, 3);
                long before = sums.containsKey(kind) ? sums.get(kind) : 0;
                sums.put(kind, before + Long.parseLong(fields[1]));
            }
        }
        return sums;
    }

    /** How many cores this process and others keep busy on average, from now on. */
    final class OtherWork {
        // The kernel counts in ticks of 10 ms: less than this says nothing.
        private static final double LEAST_SECONDS = 0.2;

        private final long began = System.nanoTime();
        private final Double busy = busy();
        private final Double own = own();

        /** Of this process and of others; null for what is not known. */
        Double[] cores() {
            double seconds = (System.nanoTime() - began) / 1e9;
            Double busyNow = busy();
            Double ownNow = own();
            if (seconds < LEAST_SECONDS || own == null || ownNow == null) {
                return new Double[] {null, null};
            }
            double mine = ownNow - own;
            Double others = null;
            if (busy != null && busyNow != null) {
                others = rounded(Math.max(0, busyNow - busy - mine) / seconds);
            }
            return new Double[] {rounded(mine / seconds), others};
        }

        private double rounded(double value) {
            return Math.round(value * 1000) / 1000.0;
        }

        /** "cpu": user nice system idle iowait irq softirq steal, in ticks; see proc_stat(5). */
        private Double busy() {
            String text = read(proc + "/stat").text;
            String[] fields = text == null ? new String[0] : text.split("\n", 2)[0].split("\\s+");
            if (fields.length < 9 || !fields[0].equals("cpu")) {
                return null;
            }
            long ticks = 0;
            for (int i : new int[] {1, 2, 3, 6, 7, 8}) {
                ticks += Long.parseLong(fields[i]);
            }
            return ticks / (double) TICKS_A_SECOND;
        }

        /** The 14th and 15th field; the second, a name in brackets, may have anything in it. */
        private Double own() {
            String text = read(proc + "/self/stat").text;
            if (text == null) {
                return null;
            }
            String[] fields = text.substring(text.lastIndexOf(')') + 2).split(" ");
            return (Long.parseLong(fields[11]) + Long.parseLong(fields[12])) / (double) TICKS_A_SECOND;
        }
    }
}
