// A .pte in ExecuTorch: the module that main.c loads after the libraries of the executorch wheel,
// libexecutorch*.so, whose headers this is built with. It links none of them and no C++ library:
// what it calls is found in what is loaded. No type of the C++ library is in a call that it makes,
// so that it may be built with another one than they were. https://github.com/pytorch/executorch

#include <cstdlib>
#include <cstring>
#include <new>

#include <executorch/extension/data_loader/mmap_data_loader.h>
#include <executorch/runtime/core/evalue.h>
#include <executorch/runtime/core/event_tracer.h>
#include <executorch/runtime/core/hierarchical_allocator.h>
#include <executorch/runtime/core/memory_allocator.h>
#include <executorch/runtime/executor/memory_manager.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>
#include <executorch/runtime/platform/clock.h>
#include <executorch/runtime/platform/runtime.h>

#include "runner.h"

// The wheel has the library, but not its header (extension/threadpool/threadpool.h).
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  bool _unsafe_reset_threadpool(uint32_t threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

namespace {

using executorch::aten::ScalarType;
using executorch::aten::Tensor;
using executorch::aten::TensorImpl;
using executorch::extension::MmapDataLoader;
using executorch::runtime::AllocatorID;
using executorch::runtime::ChainID;
using executorch::runtime::DebugHandle;
using executorch::runtime::DelegateDebugIntId;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::EventTracer;
using executorch::runtime::EventTracerEntry;
using executorch::runtime::HierarchicalAllocator;
using executorch::runtime::LoggedEValueType;
using executorch::runtime::MemoryAllocator;
using executorch::runtime::MemoryManager;
using executorch::runtime::Method;
using executorch::runtime::MethodMeta;
using executorch::runtime::Program;
using executorch::runtime::Result;
using executorch::runtime::Span;
using executorch::runtime::Tag;
using executorch::runtime::TensorInfo;

constexpr char METHOD[] = "forward";
constexpr size_t ALIGNMENT = 64;  // of planned memory, as the wide registers like it

// Nothing here is ever freed by itself: the process ends with its model.
template <typename T, typename... Arguments>
T* made(Arguments&&... arguments) {
  return new (need_memory(nullptr, 1, sizeof(T))) T(static_cast<Arguments&&>(arguments)...);
}

// What a function returned, where it can stay: the object is not moved.
template <typename T>
struct Kept {
  template <typename Make>
  explicit Kept(Make make) : result(make()) {}
  Result<T> result;
};

// Memory from the heap, all of it freed together by `reset`.
class Heap final : public MemoryAllocator {
 public:
  Heap() : MemoryAllocator(0, nullptr) {}

  void* allocate(size_t size, size_t alignment) override {
    size_t room = alignment < alignof(Block) ? alignof(Block) : alignment;
    void* found = nullptr;
    if (size > SIZE_MAX / 2 || posix_memalign(&found, room, size + blocks_before(room)) != 0)
      return nullptr;
    char* data = static_cast<char*>(found) + blocks_before(room);
    Block* block = reinterpret_cast<Block*>(data) - 1;
    block->start = found;
    block->next = last_;
    last_ = block;
    return data;
  }

  void reset() override {
    while (last_ != nullptr) {
      Block* next = last_->next;
      std::free(last_->start);
      last_ = next;
    }
  }

 private:
  struct Block {  // stands before the memory
    void* start;
    Block* next;
  };

  static size_t blocks_before(size_t room) { return (sizeof(Block) + room - 1) / room * room; }

  Block* last_ = nullptr;
};

const char* error_in(const char* line) {
  const char* end = std::strstr(line, "] ");  // "E 00:00:00.000123 executorch:method.cpp:99] WORDS"
  return line[0] == 'E' && line[1] == ' ' && end != nullptr ? end + 2 : nullptr;
}

[[noreturn]] void refuse(const char* what) {
  const char* errors = heard(error_in);
  fail(REFUSED, "model_refused", "", "the runtime does not load the model: %s",
       *errors ? errors : what);
}

[[noreturn]] void refuse_for(const char* what, Error error) {
  text words = {};
  text_format(&words, "%s: %s", what, executorch::runtime::to_string(error));
  refuse(words.data);
}

struct Input {
  TensorImpl* tensor;
  char* data;
};

Kept<Program>* program;
Method* method;
Input* inputs;
size_t input_count;
size_t* output_bytes;
int64_t planned_bytes;

const dtype* dtype_of(ScalarType type) {
  switch (type) {
    case ScalarType::Byte: return dtype_named("uint8");
    case ScalarType::Char: return dtype_named("int8");
    case ScalarType::Short: return dtype_named("int16");
    case ScalarType::Int: return dtype_named("int32");
    case ScalarType::Long: return dtype_named("int64");
    case ScalarType::Half: return dtype_named("float16");
    case ScalarType::Float: return dtype_named("float32");
    case ScalarType::Double: return dtype_named("float64");
    case ScalarType::Bool: return dtype_named("bool");
    default: refuse("a tensor has a type that numpy does not have");
  }
}

// The names of the job, which a .pte does not keep; NULL where it gives none.
const json* names_of(const job* job, const char* side, size_t count) {
  const json* names = job->names ? json_find(job->names, side) : nullptr;
  if (names != nullptr && names->count != count)
    fail(BAD_JOB, "bad_job", "", "%zu %s are named, the model has %zu", names->count, side, count);
  return names;
}

tensor described(const TensorInfo& info, const json* names, const char* side, size_t index) {
  tensor found = {};
  text name = {};
  text_format(&name, "%s_%zu", side, index);
  found.tensor = name.data;
  found.name = names ? names->items[index].text : found.tensor;
  found.dtype = dtype_of(info.scalar_type());
  found.bytes = found.dtype->size;
  if (info.sizes().size() > MOST_DIMENSIONS) refuse("a tensor has more than 8 dimensions");
  for (size_t i = 0; i < info.sizes().size(); i++) {
    found.shape[found.rank++] = info.sizes()[i];
    found.bytes *= static_cast<size_t>(info.sizes()[i]);
    if (info.dim_order()[i] != i) refuse("a tensor lies in memory in another order than its sizes");
  }
  return found;
}

MemoryManager* memory_for(const MethodMeta& meta) {
  size_t count = meta.num_memory_planned_buffers();
  auto* spans = static_cast<Span<uint8_t>*>(need_memory(nullptr, count, sizeof(Span<uint8_t>)));
  for (size_t i = 0; i < count; i++) {
    Result<int64_t> size = meta.memory_planned_buffer_size(i);
    if (!size.ok() || *size < 0) refuse("a planned buffer has no size");
    void* data = nullptr;
    if (posix_memalign(&data, ALIGNMENT, static_cast<size_t>(*size) + 1) != 0)
      refuse("no memory for its planned buffers");
    new (&spans[i]) Span<uint8_t>(static_cast<uint8_t*>(data), static_cast<size_t>(*size));
    planned_bytes += *size;
  }
  auto* planned = made<HierarchicalAllocator>(Span<Span<uint8_t>>(spans, count));
  return made<MemoryManager>(made<Heap>(), planned, made<Heap>());
}

void make_input(const TensorInfo& info, const tensor& described, Input* input) {
  size_t rank = info.sizes().size();
  auto* sizes = static_cast<TensorImpl::SizesType*>(
      need_memory(nullptr, rank, sizeof(TensorImpl::SizesType)));
  auto* order = static_cast<TensorImpl::DimOrderType*>(
      need_memory(nullptr, rank, sizeof(TensorImpl::DimOrderType)));
  auto* strides = static_cast<TensorImpl::StridesType*>(
      need_memory(nullptr, rank, sizeof(TensorImpl::StridesType)));
  TensorImpl::StridesType stride = 1;
  for (size_t i = rank; i-- > 0;) {
    sizes[i] = info.sizes()[i];
    order[i] = static_cast<TensorImpl::DimOrderType>(i);
    strides[i] = stride;
    stride *= sizes[i] > 0 ? sizes[i] : 1;
  }
  void* data = nullptr;
  if (posix_memalign(&data, ALIGNMENT, described.bytes + 1) != 0) refuse("no memory for its inputs");
  input->data = static_cast<char*>(data);
  input->tensor = made<TensorImpl>(info.scalar_type(), static_cast<ssize_t>(rank), sizes,
                                   input->data, order, strides);
}

void describe_sides(const job* job, const MethodMeta& meta, model* model) {
  model->inputs = input_count = meta.num_inputs();
  model->outputs = meta.num_outputs();
  const json* input_names = names_of(job, "inputs", model->inputs);
  const json* output_names = names_of(job, "outputs", model->outputs);
  model->input = static_cast<tensor*>(need_memory(nullptr, model->inputs, sizeof(tensor)));
  model->output = static_cast<tensor*>(need_memory(nullptr, model->outputs, sizeof(tensor)));
  inputs = static_cast<Input*>(need_memory(nullptr, model->inputs, sizeof(Input)));
  output_bytes = static_cast<size_t*>(need_memory(nullptr, model->outputs, sizeof(size_t)));
  for (size_t i = 0; i < model->inputs; i++) {
    Result<Tag> tag = meta.input_tag(i);
    Result<TensorInfo> info = meta.input_tensor_meta(i);
    if (!tag.ok() || *tag != Tag::Tensor || !info.ok()) refuse("its inputs are not all tensors");
    model->input[i] = described(*info, input_names, "input", i);
    make_input(*info, model->input[i], &inputs[i]);
  }
  for (size_t i = 0; i < model->outputs; i++) {
    Result<Tag> tag = meta.output_tag(i);
    Result<TensorInfo> info = meta.output_tensor_meta(i);
    if (!tag.ok() || *tag != Tag::Tensor || !info.ok()) refuse("its outputs are not all tensors");
    model->output[i] = described(*info, output_names, "output", i);
    output_bytes[i] = model->output[i].bytes;
  }
}

void open_runtime_here() { executorch::runtime::runtime_init(); }

model open_model(const job* job) {
  model found = {};
  if (job->batch > 1) {
    text words = {};
    text_format(&words, "its shapes are fixed; a batch of %lld is not in it",
                static_cast<long long>(job->batch));
    fail(REFUSED, "model_refused", "", "%s", words.data);
  }
  int64_t began = clock_ns();
  listen_to_runtime();
  uint32_t threads = job->threads > 1024 ? 1024 : static_cast<uint32_t>(job->threads);
  executorch::extension::threadpool::get_threadpool()->_unsafe_reset_threadpool(threads);
  auto* loader = made<Kept<MmapDataLoader>>([job] {
    // As the Python runtime does it.
    return MmapDataLoader::from(job->model, MmapDataLoader::MlockConfig::UseMlockIgnoreErrors);
  });
  if (!loader->result.ok()) refuse_for("opening it", loader->result.error());
  program = made<Kept<Program>>([loader] { return Program::load(&loader->result.get()); });
  if (!program->result.ok()) refuse_for("reading it", program->result.error());
  Result<MethodMeta> meta = program->result->method_meta(METHOD);
  if (!meta.ok()) refuse("it has no method called forward");
  MemoryManager* memory = memory_for(*meta);
  auto* loaded = made<Kept<Method>>(
      [memory] { return program->result->load_method(METHOD, memory); });
  if (!loaded->result.ok()) refuse_for("loading its method", loaded->result.error());
  method = &loaded->result.get();
  found.load_ns = clock_ns() - began;
  describe_sides(job, *meta, &found);
  heard(error_in);
  return found;
}

void set_input(size_t index, const void* data) {
  std::memcpy(inputs[index].data, data, inputs[index].tensor->nbytes());
}

void get_output(size_t index, void* data) {
  const EValue& value = method->get_output(index);
  if (!value.isTensor()) run_failed(static_cast<int>(Error::InvalidType));
  Tensor answer = value.toTensor();
  if (answer.nbytes() != output_bytes[index] || answer.const_data_ptr() == nullptr)
    run_failed(static_cast<int>(Error::InvalidState));
  std::memcpy(data, answer.const_data_ptr(), answer.nbytes());
}

// Inputs are given each time: what is planned for them is taken for something else when they have
// been read.
int run_model() {
  for (size_t i = 0; i < input_count; i++) {
    Error error = method->set_input(EValue(Tensor(inputs[i].tensor)), i);
    if (error != Error::Ok) return static_cast<int>(error);
  }
  return static_cast<int>(method->execute());
}

const char* status_text(int status) {
  return executorch::runtime::to_string(static_cast<Error>(status));
}

int64_t arena_bytes(const char**) { return planned_bytes; }

// --- the time of each operator

// Adds up what the runtime and its delegates tell of their events: what ETDump would write to a file.
class Tracer final : public EventTracer {
 public:
  void reset() {
    for (size_t i = 0; i < count_; i++) events_[i].calls = events_[i].ns = 0;
  }

  // As _executorch_calls in ../edgekit_bench/model_executorch.py has it.
  void write(text* to) const {
    int64_t within = 0, delegate_calls = 0;
    for (size_t i = 0; i < count_; i++) {
      const Event& event = events_[i];
      if (event.calls == 0) continue;
      if (event.delegated) {
        size_t kind = std::strcspn(event.name, "#");  // "Convolution (NHWC, F32) IGEMM #1"
        if (event.name[kind] != 0 && kind > 0) kind--;
        add(to, event.name, event.name, kind, "delegate", event.calls, event.ns);
        within -= event.ns;
      } else if (std::strncmp(event.name, KERNEL, sizeof KERNEL - 1) == 0) {
        const char* kind = event.name + sizeof KERNEL - 1;
        add(to, event.name, kind, std::strlen(kind), "cpu", event.calls, event.ns);
      } else if (std::strcmp(event.name, "DELEGATE_CALL") == 0) {
        within += event.ns;
        delegate_calls += event.calls;
      }
    }
    // Of a delegate that tells nothing of its own this is all.
    if (delegate_calls > 0)
      add(to, "(within the delegate)", "(not told)", 10, "delegate", delegate_calls,
          within > 0 ? within : 0);
  }

  EventTracerEntry start_profiling(const char* name, ChainID, DebugHandle) override {
    return started(name, false);
  }
  void end_profiling(EventTracerEntry entry) override { ended(entry); }
  EventTracerEntry start_profiling_delegate(const char* name, DelegateDebugIntId id) override {
    return started(named(name, id), true);
  }
  void end_profiling_delegate(EventTracerEntry entry, const void*, size_t) override {
    ended(entry);
  }
  void log_profiling_delegate(const char* name, DelegateDebugIntId id, et_timestamp_t start,
                              et_timestamp_t end, const void*, size_t) override {
    add_to(place_of(named(name, id), true), start, end);
  }

  // What it takes no part in.
  void create_event_block(const char*) override {}
  void track_allocation(AllocatorID, size_t) override {}
  AllocatorID track_allocator(const char*) override { return 0; }
  Result<bool> log_evalue(const EValue&, LoggedEValueType) override { return false; }
  Result<bool> log_intermediate_output_delegate(const char*, DelegateDebugIntId,
                                                const Tensor&) override {
    return false;
  }
  Result<bool> log_intermediate_output_delegate(
      const char*, DelegateDebugIntId, const executorch::runtime::ArrayRef<Tensor>) override {
    return false;
  }
  Result<bool> log_intermediate_output_delegate(const char*, DelegateDebugIntId,
                                                const int&) override {
    return false;
  }
  Result<bool> log_intermediate_output_delegate(const char*, DelegateDebugIntId,
                                                const bool&) override {
    return false;
  }
  Result<bool> log_intermediate_output_delegate(const char*, DelegateDebugIntId,
                                                const double&) override {
    return false;
  }
  void set_delegation_intermediate_output_filter(
      executorch::runtime::EventTracerFilterBase*) override {}

 private:
  static constexpr char KERNEL[] = "native_call_";

  struct Event {
    char* name;
    bool delegated;
    int64_t calls, ns;
  };

  static void add(text* to, const char* name, const char* kind, size_t kind_length,
                  const char* where, int64_t calls, int64_t ns) {
    text_format(to, "%s{\"name\": ", to->length ? ", " : "");
    text_json(to, name);
    text_add(to, ", \"kind\": ");
    text_json_bytes(to, kind, kind_length);
    text_format(to, ", \"where\": \"%s\", \"calls\": %lld, \"ns\": %lld}", where,
                static_cast<long long>(calls), static_cast<long long>(ns));
  }

  // Delegates name their events with a text or with a number.
  const char* named(const char* name, DelegateDebugIntId id) {
    if (name != nullptr) return name;
    text_free(&number_);
    text_format(&number_, "%d", static_cast<int>(id));
    return number_.data;
  }

  // Runs tell the same events in the same order: the next one is looked at first.
  size_t place_of(const char* name, bool delegated) {
    for (size_t step = 0; step < count_; step++) {
      size_t at = (next_ + step) % count_;
      if (events_[at].delegated != delegated || std::strcmp(events_[at].name, name) != 0) continue;
      next_ = at + 1;
      return at;
    }
    events_ = static_cast<Event*>(need_memory(events_, count_ + 1, sizeof(Event)));
    events_[count_] = Event{copy_text(name), delegated, 0, 0};
    next_ = ++count_;
    return count_ - 1;
  }

  EventTracerEntry started(const char* name, bool delegated) {
    EventTracerEntry entry = {};
    entry.event_id = static_cast<int64_t>(place_of(name, delegated));
    entry.start_time = executorch::runtime::pal_current_ticks();
    return entry;
  }
  void ended(const EventTracerEntry& entry) {
    add_to(static_cast<size_t>(entry.event_id), entry.start_time,
           executorch::runtime::pal_current_ticks());
  }
  void add_to(size_t place, et_timestamp_t start, et_timestamp_t end) {
    events_[place].calls++;
    events_[place].ns += static_cast<int64_t>(executorch::runtime::ticks_to_ns(end - start));
  }

  Event* events_ = nullptr;
  size_t count_ = 0, next_ = 0;
  text number_ = {};
};

Tracer* tracer;

const char* profile_begin(const job*) {
  tracer = made<Tracer>();
  Result<MethodMeta> meta = program->result->method_meta(METHOD);
  if (!meta.ok()) return "the profiler fails: it has no method called forward any more";
  MemoryManager* memory = memory_for(*meta);
  auto* loaded = made<Kept<Method>>(
      [memory] { return program->result->load_method(METHOD, memory, tracer); });
  if (!loaded->result.ok()) return "the profiler fails: the method does not load with it";
  method = &loaded->result.get();
  return nullptr;
}

const char* profile_from() {
  tracer->reset();
  return nullptr;
}

const char* profile_end(int64_t, text* operators) {
  tracer->write(operators);
  return operators->length > 0 ? nullptr : "the runtime told of no operator";
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const struct runtime edgekit_runtime = {
    RUNNER_VERSION, "executorch", open_runtime_here, open_model,    set_input,    get_output,
    run_model,      status_text,  arena_bytes,       profile_begin, profile_from, profile_end,
};
