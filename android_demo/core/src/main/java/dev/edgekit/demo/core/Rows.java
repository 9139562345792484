package dev.edgekit.demo.core;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;

/** Given inputs, one row a sample, in the order of the model's inputs. */
final class Rows {
    /** Samples in all, and at once: the first dimension of an input whose rows leave it out. */
    final int count;

    final int size;
    private final List<TensorInfo> inputs;
    private final List<Npz.Array> arrays;

    private Rows(List<TensorInfo> inputs, List<Npz.Array> arrays, int count, int size) {
        this.inputs = inputs;
        this.arrays = arrays;
        this.count = count;
        this.size = size;
    }

    static Rows read(String path, List<TensorInfo> inputs) throws Failure {
        Map<String, Npz.Array> arrays = Npz.read(path);
        for (String name : new ArrayList<>(arrays.keySet())) {
            if (name.startsWith("out:")) {
                arrays.remove(name);
            }
        }
        List<Npz.Array> found = new ArrayList<>();
        int size = 1;
        boolean sized = false;
        for (int i = 0; i < inputs.size(); i++) {
            TensorInfo input = inputs.get(i);
            Npz.Array array = find(arrays, input, i, inputs.size(), path);
            check(input, array);
            found.add(array);
            if (!sized && !isWhole(input, array)) {
                size = input.shape[0];
                sized = true;
            }
        }
        for (Npz.Array array : found) {
            if (array.rows() == 0 || array.rows() != found.get(0).rows()) {
                throw Failure.badInputs(
                        "the inputs in '" + path + "' are empty or not equally many");
            }
        }
        return new Rows(inputs, found, found.isEmpty() ? 0 : found.get(0).rows(), size);
    }

    private static Npz.Array find(
            Map<String, Npz.Array> arrays, TensorInfo input, int position, int inputs, String path)
            throws Failure {
        LinkedHashSet<String> names = new LinkedHashSet<>(Arrays.asList(input.name, input.tensor));
        StringBuilder words = new StringBuilder();
        for (String name : names) {
            for (String key : new String[] {"in:" + name, name}) {
                if (!name.isEmpty() && arrays.containsKey(key)) {
                    return arrays.get(key);
                }
            }
            words.append(words.length() == 0 ? "" : " or ").append(Job.told(name));
        }
        if (arrays.size() == 1 && inputs == 1) {
            return arrays.values().iterator().next();
        }
        throw Failure.badInputs(
                "input " + position + " is called " + words + "; " + path + " holds "
                        + new TreeSet<>(arrays.keySet()));
    }

    private static int[] row(TensorInfo input) {
        return Arrays.copyOfRange(input.shape, Math.min(1, input.shape.length), input.shape.length);
    }

    private static boolean isWhole(TensorInfo input, Npz.Array array) {
        return input.hasShape(array.row());
    }

    private static void check(TensorInfo input, Npz.Array array) throws Failure {
        if (array.dtype != input.dtype) {
            throw Failure.badInputs(
                    "input " + input.name + " takes " + input.dtype.name + ", not "
                            + array.dtype.name);
        }
        int[] row = row(input);
        int[] one = new int[row.length + 1];
        one[0] = 1;
        System.arraycopy(row, 0, one, 1, row.length);
        int[] given = array.row();
        boolean fits = Arrays.equals(given, row) || isWhole(input, array) || Arrays.equals(given, one);
        if (array.shape.length == 0 || !fits) {
            throw Failure.badInputs(
                    "input " + input.name + " takes rows of shape " + Npz.tuple(row) + ", not "
                            + Npz.tuple(given));
        }
    }

    /** An array for each input, from a sample on; a last batch is filled up with the first rows. */
    List<Object> batch(int start) {
        List<Object> made = new ArrayList<>();
        for (int i = 0; i < inputs.size(); i++) {
            TensorInfo input = inputs.get(i);
            Npz.Array array = arrays.get(i);
            byte[] data = new byte[input.bytes()];
            int row = array.data.length / count;
            int rows = isWhole(input, array) ? 1 : data.length / row;
            for (int k = 0; k < rows; k++) {
                System.arraycopy(array.data, (start + k) % count * row, data, k * row, row);
            }
            made.add(input.dtype.array(data));
        }
        return made;
    }
}
