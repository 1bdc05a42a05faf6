//! The CUDA driver, as far as this crate needs it: one device, one stream, memory, launches,
//! graphs.
//!
//! With `transfer.rs`, which moves bytes between host and device, the only file that calls the
//! driver. Memory is plain device memory; growing pools reserve a range of addresses once and map
//! memory into it as they grow, so that no page ever moves and a recorded graph stays valid.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::slice;
use std::sync::Arc;

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::{CudaContext, CudaStream, sys};

use super::transfer::Staging;
use crate::Error;

/// An address in device memory.
pub type Address = u64;

/// A loaded kernel. Lives as long as the process: modules are never unloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Function(sys::CUfunction);

// SAFETY: a handle of the driver, which any thread may use.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

/// Most words that a kernel is called with: eight weights of five, and numbers.
pub const WORDS_MAX: usize = 56;

/// One launch: what a kernel is called with.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// The kernel.
    pub function: Function,
    /// Its family and name, for people.
    pub name: (&'static str, &'static str),
    /// What the unit was compiled for.
    pub variant: u32,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: u32,
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    /// Words that are the first argument together; 0 if there is no such.
    pub list: usize,
    /// They, and after them all other arguments, each as the low bytes of a word; then zeros.
    pub args: [u64; WORDS_MAX],
    /// Bytes of weights that it reads, for people.
    pub weights: u64,
}

/// A device and the stream that all its work goes through.
pub struct Gpu {
    context: Arc<CudaContext>,
    pub(super) stream: Arc<CudaStream>,
    /// `major · 10 + minor`.
    pub capability: i32,
    /// Multiprocessors.
    pub processors: usize,
    /// Bytes of shared memory of a multiprocessor.
    pub shared_bytes: usize,
    /// Host memory that the device reads and writes by itself.
    pub(super) staging: Staging,
}

pub(super) fn failed(what: &'static str) -> impl Fn(DriverError) -> Error {
    move |error| match error.0 {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Error::OutOfMemory { what, bytes: 0 },
        _ => Error::Device { what, reason: error.to_string() },
    }
}

impl Gpu {
    /// Opens device `ordinal`.
    ///
    /// # Errors
    /// No driver, no such device, or a device that is too old.
    pub fn open(ordinal: usize) -> Result<Gpu, Error> {
        // SAFETY: only looks for the library.
        if !unsafe { sys::is_culib_present() } {
            return Err(Error::NoDriver);
        }
        let count = CudaContext::device_count().map_err(|_| Error::NoDriver)?;
        if ordinal as i32 >= count {
            return Err(Error::NoDevice { ordinal, count: count as usize });
        }
        let context = CudaContext::new(ordinal).map_err(failed("opening the device"))?;
        let (major, minor) = context.compute_capability().map_err(failed("asking the device"))?;
        let capability = major * 10 + minor;
        if capability < 80 {
            return Err(Error::OldDevice { capability });
        }
        let processors = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        let processors = context.attribute(processors).map_err(failed("asking the device"))?;
        let shared =
            sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR;
        let shared = context.attribute(shared).map_err(failed("asking the device"))?;
        let stream = context.new_stream().map_err(failed("opening a stream"))?;
        let (processors, shared_bytes) = (processors as usize, shared as usize);
        let staging = Staging::new()?;
        Ok(Gpu { context, stream, capability, processors, shared_bytes, staging })
    }

    /// The device's name.
    pub fn name(&self) -> String {
        self.context.name().unwrap_or_else(|_| "CUDA device".to_owned())
    }

    /// Bytes that are free, and that there are.
    ///
    /// # Errors
    /// What the driver says.
    pub fn memory(&self) -> Result<(usize, usize), Error> {
        self.context.mem_get_info().map_err(failed("asking for free memory"))
    }

    /// Zeroed memory.
    ///
    /// # Errors
    /// There is not so much.
    pub fn allocate(&self, bytes: usize, what: &'static str) -> Result<Memory, Error> {
        self.bind()?;
        let bytes = bytes.max(16);
        // SAFETY: the context is current.
        let address = unsafe { result::malloc_sync(bytes) };
        let address = address.map_err(|_| Error::OutOfMemory { what, bytes })?;
        let memory = Memory { address, bytes };
        self.clear(address, bytes)?;
        Ok(memory)
    }

    pub(super) fn bind(&self) -> Result<(), Error> {
        self.context.bind_to_thread().map_err(failed("choosing the device"))
    }

    fn clear(&self, address: Address, bytes: usize) -> Result<(), Error> {
        // SAFETY: the range was just allocated or mapped.
        unsafe { result::memset_d8_async(address, 0, bytes, self.stream.cu_stream()) }
            .map_err(failed("clearing memory"))
    }

    /// Copies within the device, after the work before.
    ///
    /// # Errors
    /// The device failed.
    pub fn copy(&self, from: Address, to: Address, bytes: usize) -> Result<(), Error> {
        if bytes == 0 {
            return Ok(());
        }
        self.bind()?;
        // SAFETY: callers stay within their memory, and the two ranges are of different pages.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream.cu_stream()) }
            .map_err(failed("copying on the device"))
    }

    /// Waits for all work.
    ///
    /// # Errors
    /// The device failed.
    pub fn wait(&self) -> Result<(), Error> {
        self.stream.synchronize().map_err(failed("computing"))
    }

    /// Loads machine code and finds kernels in it by name; a variable of it may be set to an
    /// address.
    ///
    /// # Errors
    /// The driver refuses it.
    pub fn load(
        &self,
        code: &[u8],
        names: &[&str],
        set: Option<(&str, Address)>,
    ) -> Result<Vec<Function>, Error> {
        self.bind()?;
        // SAFETY: the code is a whole cubin, which the driver checks.
        let module = unsafe { result::module::load_data(code.as_ptr().cast()) }
            .map_err(failed("loading kernels"))?;
        if let Some((name, value)) = set {
            let name = CString::new(name).expect("names hold no NUL");
            // SAFETY: the module is loaded and never unloaded.
            let (at, bytes) = unsafe { result::module::get_global(module, name) }
                .map_err(failed("finding a variable"))?;
            assert_eq!(bytes, size_of::<Address>(), "bytes of a variable that holds an address");
            self.upload(at, &value.to_ne_bytes())?;
        }
        let find = |name: &&str| {
            let name = CString::new(*name).expect("names hold no NUL");
            // SAFETY: the module is loaded and never unloaded.
            unsafe { result::module::get_function(module, name) }
                .map(Function)
                .map_err(failed("finding a kernel"))
        };
        names.iter().map(find).collect()
    }

    /// Allows a kernel so much dynamic shared memory.
    ///
    /// # Errors
    /// More than the device has.
    pub fn allow_shared(&self, function: Function, bytes: u32) -> Result<(), Error> {
        let attribute =
            sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function is loaded.
        unsafe { result::function::set_function_attribute(function.0, attribute, bytes as i32) }
            .map_err(failed("asking for shared memory"))
    }

    /// Clusters of `ranks` blocks of a kernel that is compiled for such, that run at once: each has
    /// so many threads and bytes of dynamic shared memory, which was allowed.
    ///
    /// # Errors
    /// None fits.
    pub fn clusters_at_once(
        &self,
        function: Function,
        ranks: u32,
        block: u32,
        shared: u32,
    ) -> Result<usize, Error> {
        let mut count = 0;
        let config = self.config([ranks, 1, 1], block, shared, &mut []);
        // SAFETY: the function is loaded, and both places live as long as the call.
        unsafe { sys::cuOccupancyMaxActiveClusters(&mut count, function.0, &config) }
            .result()
            .map_err(failed("asking how many clusters fit"))?;
        Ok(count as usize)
    }

    /// What a launch looks like. The driver reads the attributes where they are.
    fn config(
        &self,
        [x, y, z]: [u32; 3],
        block: u32,
        shared: u32,
        attributes: &mut [sys::CUlaunchAttribute],
    ) -> sys::CUlaunchConfig {
        sys::CUlaunchConfig {
            gridDimX: x,
            gridDimY: y,
            gridDimZ: z,
            blockDimX: block,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: shared,
            hStream: self.stream.cu_stream(),
            attrs: attributes.as_mut_ptr(),
            numAttrs: attributes.len() as u32,
        }
    }

    /// Starts one kernel; where the architecture can, before those in front of it have ended:
    /// kernels wait for them themselves (`begin` in common.cuh).
    ///
    /// # Errors
    /// The driver refuses it.
    pub fn launch(&self, launch: &Launch) -> Result<(), Error> {
        let Launch { function, grid, block, shared, list, ref args, .. } = *launch;
        let mut pointers = [std::ptr::null_mut(); 32];
        let rest = if list > 0 { &args[list - 1..] } else { args };
        for (pointer, arg) in pointers.iter_mut().zip(rest) {
            *pointer = std::ptr::from_ref(arg).cast_mut().cast();
        }
        if list > 0 {
            pointers[0] = args.as_ptr().cast_mut().cast();
        }
        // SAFETY: plain data, of which zeros are valid.
        let mut attribute: sys::CUlaunchAttribute = unsafe { std::mem::zeroed() };
        attribute.id =
            sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
        attribute.value.programmaticStreamSerializationAllowed = 1;
        let attributes =
            if self.capability >= 90 { slice::from_mut(&mut attribute) } else { &mut [] };
        let config = self.config(grid, block, shared, attributes);
        // SAFETY: operations pass as many arguments, of such types, as their kernels take; each is
        // the low bytes of a word, the first one perhaps several words, that live through the call.
        unsafe {
            let pointers = pointers.as_mut_ptr();
            sys::cuLaunchKernelEx(&raw const config, function.0, pointers, std::ptr::null_mut())
        }
        .result()
        .map_err(failed("starting a kernel"))
    }

    /// Seconds that some work on the stream takes.
    ///
    /// # Errors
    /// Those of the work, or the device failed.
    pub fn time(&self, work: impl FnOnce() -> Result<(), Error>) -> Result<f64, Error> {
        let flags = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let event = || self.stream.record_event(flags).map_err(failed("timing"));
        let start = event()?;
        work()?;
        let end = event()?;
        self.wait()?;
        Ok(f64::from(start.elapsed_ms(&end).map_err(failed("timing"))?) / 1e3)
    }

    /// Records launches as a graph.
    ///
    /// # Errors
    /// The driver refuses one of them.
    pub fn graph(&self, launches: &[Launch]) -> Result<Graph, Error> {
        self.bind()?;
        let stream = self.stream.cu_stream();
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is ours; what is begun is ended below.
        unsafe { result::stream::begin_capture(stream, mode) }.map_err(failed("recording"))?;
        let launched = launches.iter().try_for_each(|launch| self.launch(launch));
        // SAFETY: the capture was begun above; the graph may go once it is instantiated.
        unsafe {
            let graph = result::stream::end_capture(stream).map_err(failed("recording"))?;
            launched?;
            let mut exec = MaybeUninit::uninit();
            let made = sys::cuGraphInstantiateWithFlags(exec.as_mut_ptr(), graph, 0).result();
            result::graph::destroy(graph).map_err(failed("recording"))?;
            made.map_err(failed("recording"))?;
            Ok(Graph { exec: exec.assume_init() })
        }
    }

    /// Starts a recorded graph.
    ///
    /// # Errors
    /// The driver refuses it.
    pub fn replay(&self, graph: &Graph) -> Result<(), Error> {
        // SAFETY: the graph is alive; the memory that it names is, too: nothing is freed while the
        // backend lives.
        unsafe { result::graph::launch(graph.exec, self.stream.cu_stream()) }
            .map_err(failed("starting a graph"))
    }
}

/// Device memory that is freed when dropped.
pub struct Memory {
    /// Where it begins; aligned to 256 bytes.
    pub address: Address,
    /// How much it is.
    pub bytes: usize,
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated by `Gpu::allocate`, freed once. An error has nobody to go to.
        let _ = unsafe { result::free_sync(self.address) };
    }
}

/// A recorded sequence of launches.
pub struct Graph {
    exec: sys::CUgraphExec,
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: instantiated by `Gpu::graph`, destroyed once.
        let _ = unsafe { result::graph::exec_destroy(self.exec) };
    }
}

/// A range of addresses of which a growing first part is memory.
pub struct Growing {
    /// Where it begins.
    pub address: Address,
    reserved: usize,
    mapped: usize,
    step: usize,
    parts: Vec<(sys::CUmemGenericAllocationHandle, usize)>,
}

impl Growing {
    /// Reserves addresses for as much as the device has, and no memory.
    ///
    /// # Errors
    /// The driver refuses it.
    pub fn reserve(gpu: &Gpu) -> Result<Growing, Error> {
        let doing = failed("reserving addresses for KV pages");
        gpu.bind()?;
        let properties = properties(gpu);
        let granularity = sys::CUmemAllocationGranularity_flags::CU_MEM_ALLOC_GRANULARITY_MINIMUM;
        let (_, total) = gpu.memory()?;
        let (mut step, mut address) = (0, 0);
        // SAFETY: all places are valid; the properties name the open device.
        unsafe {
            sys::cuMemGetAllocationGranularity(&mut step, &properties, granularity)
                .result()
                .map_err(&doing)?;
            let reserved = total.next_multiple_of(step);
            sys::cuMemAddressReserve(&mut address, reserved, 0, 0, 0).result().map_err(&doing)?;
            Ok(Growing { address, reserved, mapped: 0, step, parts: Vec::new() })
        }
    }

    /// Makes the first `bytes` bytes memory; what is new is zero.
    ///
    /// # Errors
    /// There is not so much; nothing has changed then.
    pub fn grow(&mut self, gpu: &Gpu, bytes: usize) -> Result<(), Error> {
        let wanted = bytes.next_multiple_of(self.step);
        if wanted <= self.mapped {
            return Ok(());
        }
        let full = Error::OutOfMemory { what: "KV pages", bytes: wanted - self.mapped };
        if wanted > self.reserved {
            return Err(full);
        }
        gpu.bind()?;
        let (size, at) = (wanted - self.mapped, self.address + self.mapped as u64);
        let access = sys::CUmemAccessDesc {
            location: properties(gpu).location,
            flags: sys::CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
        };
        let mut handle = 0;
        // SAFETY: the range is reserved and not mapped yet; places are valid.
        unsafe {
            let made = sys::cuMemCreate(&mut handle, size, &properties(gpu), 0).result();
            made.map_err(|_| full)?;
            let doing = failed("mapping KV pages");
            sys::cuMemMap(at, size, 0, handle, 0).result().map_err(&doing)?;
            sys::cuMemSetAccess(at, size, &access, 1).result().map_err(&doing)?;
        }
        self.parts.push((handle, size));
        self.mapped = wanted;
        gpu.clear(at, size)
    }

    /// Bytes that are memory.
    pub fn mapped(&self) -> usize {
        self.mapped
    }
}

fn properties(gpu: &Gpu) -> sys::CUmemAllocationProp {
    sys::CUmemAllocationProp {
        type_: sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED,
        requestedHandleTypes: sys::CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_NONE,
        location: sys::CUmemLocation {
            type_: sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE,
            id: gpu.context.ordinal() as i32,
        },
        win32HandleMetaData: std::ptr::null_mut(),
        allocFlags: sys::CUmemAllocationProp_st__bindgen_ty_1 {
            compressionType: 0,
            gpuDirectRDMACapable: 0,
            usage: 0,
            reserved: [0; 4],
        },
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        let mut at = self.address;
        // SAFETY: each part was mapped at its place once; the range was reserved once.
        unsafe {
            for &(handle, size) in &self.parts {
                let _ = sys::cuMemUnmap(at, size);
                let _ = sys::cuMemRelease(handle);
                at += size as u64;
            }
            let _ = sys::cuMemAddressFree(self.address, self.reserved);
        }
    }
}
