package dev.edgekit.demo.core;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * A .tflite's inputs and outputs. LiteRT's classes for Android do not tell names, shapes or scales.
 *
 * <p>Field numbers are those of https://ai.google.dev/edge/litert: tflite/schema/schema.fbs.
 */
final class TfliteFile {
    private static final int SUBGRAPHS = 2;
    private static final int SIGNATURES = 7;
    private static final DType[] TYPES = new DType[18];

    static {
        TYPES[0] = DType.FLOAT32;
        TYPES[1] = DType.FLOAT16;
        TYPES[2] = DType.INT32;
        TYPES[3] = DType.UINT8;
        TYPES[4] = DType.INT64;
        TYPES[6] = DType.BOOL;
        TYPES[7] = DType.INT16;
        TYPES[9] = DType.INT8;
        TYPES[10] = DType.FLOAT64;
        TYPES[12] = DType.UINT64;
        TYPES[15] = DType.UINT32;
        TYPES[16] = DType.UINT16;
    }

    private TfliteFile() {}

    static ModelDescription read(FlatBuffer file) throws Failure {
        int model = file.root();
        int graphs = file.pointed(model, SUBGRAPHS);
        if (file.length(graphs) == 0) {
            throw Failure.refused("it has no graph");
        }
        int graph = file.table(graphs, 0);
        int signatures = file.pointed(model, SIGNATURES);
        // Several name the same tensors differently: then the file's own names are taken.
        int only = file.length(signatures) == 1 ? file.table(signatures, 0) : 0;
        int key = only == 0 ? 0 : file.pointed(only, 2);
        return new ModelDescription(
                tensors(file, graph, file.pointed(graph, 1), only, 0),
                tensors(file, graph, file.pointed(graph, 2), only, 1),
                key == 0 ? "" : file.text(key),
                null);
    }

    private static List<TensorInfo> tensors(
            FlatBuffer file, int graph, int indices, int signature, int side) throws Failure {
        Map<Integer, String> names = new HashMap<>();
        int maps = signature == 0 ? 0 : file.pointed(signature, side);
        for (int i = 0; i < file.length(maps); i++) {
            int map = file.table(maps, i);
            names.put(file.number(map, 1, 0), file.text(file.pointed(map, 0)));
        }
        List<TensorInfo> found = new ArrayList<>();
        int all = file.pointed(graph, 0);
        for (int index : file.ints(indices)) {
            int tensor = file.table(all, index);
            int own = file.pointed(tensor, 3);
            String name = own == 0 ? "" : file.text(own);
            int type = file.small(tensor, 1, 0);
            if (type >= TYPES.length || TYPES[type] == null || !TYPES[type].held) {
                String said = type < TYPES.length && TYPES[type] != null ? TYPES[type].name : "" + type;
                throw Failure.refused(
                        "'" + name + "' has the type " + said + ", of which Java has no arrays here");
            }
            int quantization = file.pointed(tensor, 4);
            double[] scales = file.floats(quantization == 0 ? 0 : file.pointed(quantization, 2));
            long[] zeros = file.longs(quantization == 0 ? 0 : file.pointed(quantization, 3));
            found.add(
                    new TensorInfo(
                            names.containsKey(index) ? names.get(index) : name,
                            name,
                            TYPES[type],
                            file.ints(file.pointed(tensor, 0)),
                            scales,
                            zeros));
        }
        return found;
    }
}
