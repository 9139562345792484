// ExecuTorch's executor_runner for the tests: its flags, its log and its ETDump, with the runtime of
// the executorch wheel, which has the libraries but not this program. It leaves out what edgekit does
// not use: bundled programs, .ptd files, printing the outputs.
// https://github.com/pytorch/executorch/blob/main/examples/portable/executor_runner/executor_runner.cpp
//
// -DEDITION=4 knows --model_path alone and tells no time, 10 (0.6 to 1.0) tells the time of all
// executions together, 15 that of each. -DTRACES is a build with EXECUTORCH_ENABLE_EVENT_TRACER;
// -DET_LOG_ENABLED=0 is one without EXECUTORCH_ENABLE_LOGGING, as a release is if nothing is said.

#include <cinttypes>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <gflags/gflags.h>

#include <executorch/devtools/etdump/etdump_flatcc.h>
#include <executorch/extension/data_loader/file_data_loader.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>
#include <executorch/runtime/platform/log.h>
#include <executorch/runtime/platform/platform.h>
#include <executorch/runtime/platform/runtime.h>

namespace executorch::extension::threadpool {  // a header that the wheel leaves out
class ThreadPool {
 public:
  bool _unsafe_reset_threadpool(uint32_t threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

DEFINE_string(model_path, "model.pte", "The .pte.");
#if EDITION >= 6
DEFINE_string(inputs, "", "Raw files, one an input, joined by commas.");
DEFINE_uint32(num_executions, 1, "How often.");
DEFINE_int32(cpu_threads, -1, "How many.");
#ifdef TRACES
DEFINE_string(etdump_path, "model.etdump", "Where the ETDump goes.");
#endif
#else
static uint32_t FLAGS_num_executions = 1;
#endif
#if EDITION >= 10
DEFINE_string(output_file, "", "Where raw outputs go, with -0.bin and so on behind it.");
#endif

using namespace executorch::runtime;
using executorch::aten::ScalarType;
using executorch::aten::Tensor;
using executorch::aten::TensorImpl;
using executorch::etdump::ETDumpGen;
using executorch::extension::FileDataLoader;

static std::vector<uint8_t> method_memory(1 << 22), scratch_memory(1 << 20);

namespace {

struct Input {
  std::vector<char> data;
  std::unique_ptr<TensorImpl> tensor;
};

std::vector<Input> inputs;

void prepare_inputs(const MethodMeta& meta, const std::vector<std::string>& files) {
  for (size_t i = 0; i < meta.num_inputs(); i++) {
    TensorInfo info = meta.input_tensor_meta(i).get();
    Input input;
    input.data.resize(info.nbytes());
    if (i < files.size()) {
      ET_CHECK_MSG(files[i].size() == info.nbytes(), "Could not prepare inputs: 0x12");
      std::memcpy(input.data.data(), files[i].data(), info.nbytes());
    } else if (info.scalar_type() == ScalarType::Float) {
      for (size_t at = 0; at < info.nbytes() / sizeof(float); at++)
        reinterpret_cast<float*>(input.data.data())[at] = 1.0F;
    } else {
      std::memset(input.data.data(), 1, info.nbytes());
    }
    input.tensor = std::make_unique<TensorImpl>(
        info.scalar_type(), info.sizes().size(), const_cast<TensorImpl::SizesType*>(info.sizes().data()),
        input.data.data(), const_cast<TensorImpl::DimOrderType*>(info.dim_order().data()));
    inputs.push_back(std::move(input));
  }
}

double ms(et_timestamp_t ticks) {
  auto ratio = et_pal_ticks_to_ns_multiplier();
  return static_cast<double>(ticks) * ratio.numerator / ratio.denominator / 1000000.0;
}

}  // namespace

int main(int argc, char** argv) {
  runtime_init();
  gflags::ParseCommandLineFlags(&argc, &argv, true);
  if (argc != 1) {
    ET_LOG(Error, "Extra commandline args: %s", argv[1]);
    return 1;
  }
#if EDITION >= 6
  ET_LOG(Info, "Resetting threadpool with num threads = %d", FLAGS_cpu_threads);
  if (FLAGS_cpu_threads > 0)
    executorch::extension::threadpool::get_threadpool()->_unsafe_reset_threadpool(FLAGS_cpu_threads);
#endif
  std::vector<std::string> files;
#if EDITION >= 6
  std::stringstream paths(FLAGS_inputs);
  for (std::string path; std::getline(paths, path, ',');) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
      ET_LOG(Error, "Failed to open input file: %s", path.c_str());
      return 1;
    }
    files.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
#endif
  Result<FileDataLoader> loader = FileDataLoader::from(FLAGS_model_path.c_str());
  ET_CHECK_MSG(loader.ok(), "FileDataLoader::from() failed: 0x%" PRIx32, (uint32_t)loader.error());
  et_timestamp_t before_load = pal_current_ticks();
  Result<Program> program = Program::load(&loader.get());
  if (!program.ok()) {
    ET_LOG(Error, "Failed to parse model file %s", FLAGS_model_path.c_str());
    return 1;
  }
  ET_LOG(Info, "Model file %s is loaded.", FLAGS_model_path.c_str());
  const char* name = *program->get_method_name(0);
  ET_LOG(Info, "Using method %s", name);
  Result<MethodMeta> meta = program->method_meta(name);
  MemoryAllocator for_method(method_memory.size(), method_memory.data());
  MemoryAllocator for_kernels(scratch_memory.size(), scratch_memory.data());
  std::vector<std::unique_ptr<uint8_t[]>> buffers;
  std::vector<Span<uint8_t>> spans;
  for (size_t i = 0; i < meta->num_memory_planned_buffers(); i++) {
    size_t size = meta->memory_planned_buffer_size(i).get();
    ET_LOG(Info, "Setting up planned buffer %zu, size %zu.", i, size);
    buffers.push_back(std::make_unique<uint8_t[]>(size));
    spans.push_back({buffers.back().get(), size});
  }
  HierarchicalAllocator planned({spans.data(), spans.size()});
  MemoryManager memory(&for_method, &planned, &for_kernels);
  ETDumpGen* tracer = nullptr;
#ifdef TRACES
  ETDumpGen etdump;
  tracer = &etdump;
#endif
  Result<Method> method = program->load_method(name, &memory, tracer);
  et_timestamp_t after_load = pal_current_ticks();
  ET_CHECK_MSG(method.ok(), "Loading of method %s failed with status 0x%" PRIx32, name,
               (uint32_t)method.error());
#if EDITION >= 15
  ET_LOG(Info, "Model loaded in %f ms.", ms(after_load - before_load));
#else
  (void)before_load, (void)after_load;
  ET_LOG(Info, "Method loaded.");
#endif
  if (std::getenv("EXECUTOR_RUNNER_CRASHES") != nullptr) std::abort();
  prepare_inputs(*meta, files);
  et_timestamp_t spent = 0;
  for (uint32_t i = 0; i < FLAGS_num_executions; i++) {
    for (size_t at = 0; at < inputs.size(); at++)
      ET_CHECK(method->set_input(Tensor(inputs[at].tensor.get()), at) == Error::Ok);
    et_timestamp_t before = pal_current_ticks();
    Error status = method->execute();
    et_timestamp_t elapsed = pal_current_ticks() - before;
    spent += elapsed;
    ET_CHECK_MSG(status == Error::Ok, "Execution of method %s failed with status 0x%" PRIx32, name,
                 (uint32_t)status);
#if EDITION >= 15
    ET_LOG(Info, "Iteration %" PRIu32 " of %" PRIu32 ": %f ms", i + 1, FLAGS_num_executions,
           ms(elapsed));
#endif
  }
#if EDITION >= 6
  ET_LOG(Info, "Model executed successfully %" PRIu32 " time(s) in %f ms.", FLAGS_num_executions,
         ms(spent));
#else
  ET_LOG(Info, "Model executed successfully.");
#endif
  ET_LOG(Info, "%zu outputs: ", method->outputs_size());
#if EDITION >= 10
  for (size_t i = 0; !FLAGS_output_file.empty() && i < method->outputs_size(); i++) {
    Tensor tensor = method->get_output(i).toTensor();
    std::ofstream file(FLAGS_output_file + "-" + std::to_string(i) + ".bin", std::ios::binary);
    file.write(tensor.const_data_ptr<char>(), tensor.nbytes());
  }
#endif
#ifdef TRACES
  std::ofstream dump(FLAGS_etdump_path, std::ios::binary);
  if (!dump) ET_LOG(Error, "Failed to open ETDump file at %s.", FLAGS_etdump_path.c_str());
  ET_CHECK_MSG(dump, "Failed to save ETDump file.");
  auto told = etdump.get_etdump_data();
  dump.write(static_cast<const char*>(told.buf), static_cast<std::streamsize>(told.size));
  std::free(told.buf);
  ET_LOG(Info, "ETDump written to file '%s'.", FLAGS_etdump_path.c_str());
#endif
  return 0;
}
