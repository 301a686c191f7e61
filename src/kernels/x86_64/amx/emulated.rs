//! Tile instructions on machines that have none: done in software when they trap, by the book, so that tests cover the level
//! wherever vectors are 512 bits wide.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::mem::zeroed;
use std::ptr::null_mut;
use std::sync::Once;

/// Tile instructions that this thread has done so far.
pub(in crate::kernels) fn done() -> usize {
    // SAFETY: the handler does not interrupt this.
    TILES.with(|tiles| unsafe { (*tiles.get()).done })
}

/// From now on, tile instructions work in this process.
pub(in crate::kernels) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: all zeros are a valid `sigaction`, and the handler has the signature that SA_SIGINFO asks for.
        unsafe {
            let mut action: libc::sigaction = zeroed();
            action.sa_sigaction = on_trap as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            assert_eq!(libc::sigaction(libc::SIGILL, &action, null_mut()), 0);
        }
    });
}

extern "C" fn on_trap(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the system hands over the registers of the thread that stopped here, at an instruction.
    unsafe {
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        match TILES.with(|tiles| (*tiles.get()).execute(registers)) {
            Some(len) => registers[libc::REG_RIP as usize] += len as i64,
            // Not one of ours, or one that a processor would refuse: it shall trap again, for good.
            None => drop(libc::signal(libc::SIGILL, libc::SIG_DFL)),
        }
    }
}

thread_local! {
    static TILES: UnsafeCell<Tiles> = const {
        UnsafeCell::new(Tiles { done: 0, taken: false, tiles: [const { Tile { rows: 0, row_bytes: 0, bytes: [[0; 64]; 16] } }; 8] })
    };
}

struct Tile {
    rows: usize,
    row_bytes: usize,
    bytes: [[u8; 64]; 16],
}

struct Tiles {
    done: usize,
    taken: bool,
    tiles: [Tile; 8],
}

impl Tiles {
    /// Does the instruction that the registers point to. Returns its length, or `None` if it is no valid one.
    ///
    /// # Safety
    /// The instruction may do what it does.
    unsafe fn execute(&mut self, registers: &[i64; 23]) -> Option<usize> {
        let code = registers[libc::REG_RIP as usize] as *const u8;
        // SAFETY: a VEX prefix of three bytes announces an instruction of at least five.
        let [vex, first, second, opcode, modrm] = unsafe { code.cast::<[u8; 5]>().read_unaligned() };
        // Map 0F38, 128 bits, W0.
        if vex != 0xc4 || first & 0x1f != 2 || second & 0x84 != 0 {
            return None;
        }
        let (prefix, third) = (second & 3, usize::from(!second >> 3 & 15));
        let (mode, reg, rm) = (modrm >> 6, usize::from(modrm >> 3 & 7), usize::from(modrm & 7));
        if opcode != 0x49 && !self.taken || third > 7 {
            return None;
        }
        if mode == 3 {
            match (opcode, prefix) {
                (0x49, 0) if modrm == 0xc0 => self.release(),
                (0x49, 3) if self.taken => self.tiles[reg].bytes = [[0; 64]; 16],
                (0x5e, _) => self.multiply(reg, rm, third, prefix >= 2, prefix % 2 == 1)?,
                _ => return None,
            }
            self.done += 1;
            return Some(5);
        }
        // SAFETY: as the caller says.
        unsafe {
            let (address, stride, len) = operand(registers, code, first)?;
            match (opcode, prefix) {
                (0x49, 0) => self.configure(*(address as *const [u8; 64]))?,
                // Tiles need the long form of an address.
                (0x4b, 2 | 3) if rm == 4 => {
                    for (row, bytes) in self.tiles[reg].bytes.iter_mut().enumerate().take(self.tiles[reg].rows) {
                        let (memory, len) =
                            (address.wrapping_add_signed(row as isize * stride) as *mut u8, self.tiles[reg].row_bytes);
                        match prefix {
                            2 => memory.copy_from(bytes.as_ptr(), len),
                            _ => memory.copy_to(bytes.as_mut_ptr(), len),
                        }
                    }
                }
                _ => return None,
            }
            self.done += 1;
            Some(len)
        }
    }

    fn release(&mut self) {
        self.taken = false;
        for tile in &mut self.tiles {
            *tile = Tile { rows: 0, row_bytes: 0, bytes: [[0; 64]; 16] };
        }
    }

    fn configure(&mut self, config: [u8; 64]) -> Option<()> {
        self.release();
        if config[0] != 1 || config[1..16].iter().chain(&config[32..48]).chain(&config[56..]).any(|&byte| byte != 0) {
            return None;
        }
        for (i, tile) in self.tiles.iter_mut().enumerate() {
            tile.row_bytes = usize::from(u16::from_le_bytes([config[16 + 2 * i], config[17 + 2 * i]]));
            tile.rows = usize::from(config[48 + i]);
            if tile.rows > 16 || tile.row_bytes > 64 {
                return None;
            }
        }
        self.taken = true;
        Some(())
    }

    /// `c[m][n] += a[m][4 * k + i] * b[k][4 * n + i]`, summed over k and i.
    fn multiply(&mut self, c: usize, a: usize, b: usize, a_signed: bool, b_signed: bool) -> Option<()> {
        let (left, right) = (&self.tiles[a], &self.tiles[b]);
        let fits =
            left.rows == self.tiles[c].rows && left.row_bytes == 4 * right.rows && right.row_bytes == self.tiles[c].row_bytes;
        if !fits || a == b || a == c || b == c {
            return None;
        }
        let number = |byte: u8, signed: bool| if signed { i32::from(byte as i8) } else { i32::from(byte) };
        let left = left.bytes.map(|row| row.map(|byte| number(byte, a_signed)));
        let right = right.bytes.map(|row| row.map(|byte| number(byte, b_signed)));
        let tile = &mut self.tiles[c];
        for (sums, left) in tile.bytes.iter_mut().zip(left).take(tile.rows) {
            for (left, right) in left.chunks_exact(4).zip(&right).take(tile.row_bytes / 4) {
                for (sum, right) in sums.as_chunks_mut::<4>().0.iter_mut().zip(right.chunks_exact(4)) {
                    let product: i32 = left.iter().zip(right).map(|(a, b)| a * b).sum();
                    *sum = i32::from_le_bytes(*sum).wrapping_add(product).to_le_bytes();
                }
            }
        }
        Some(())
    }
}

/// The memory operand of an instruction with a VEX prefix of three bytes: address, what the index register adds to it per row,
/// length of the instruction.
///
/// # Safety
/// There is an instruction at `code`.
unsafe fn operand(registers: &[i64; 23], code: *const u8, extensions: u8) -> Option<(usize, isize, usize)> {
    use libc::*;
    const ORDER: [c_int; 16] = [
        REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12,
        REG_R13, REG_R14, REG_R15,
    ];
    let register =
        |number: u8, extended: bool| registers[ORDER[usize::from(number & 7 | u8::from(extended) << 3)] as usize] as isize;
    let (base_extended, index_extended) = (extensions & 0x20 == 0, extensions & 0x40 == 0);
    // SAFETY: what is read is what the encoding says is there.
    unsafe {
        let modrm = *code.add(4);
        let (mode, long) = (modrm >> 6, modrm & 7 == 4);
        let sib = if long { *code.add(5) } else { 0 };
        let rest = code.add(5 + usize::from(long));
        let base = if long { sib } else { modrm } & 7;
        let index = sib >> 3 & 7;
        let (displacement, bytes) = match mode {
            0 if base == 5 => (rest.cast::<i32>().read_unaligned() as isize, 4),
            0 => (0, 0),
            1 => (*rest as i8 as isize, 1),
            2 => (rest.cast::<i32>().read_unaligned() as isize, 4),
            _ => return None,
        };
        let len = rest.offset_from(code) as usize + bytes;
        let base = match (mode, base, long) {
            (0, 5, true) => 0,
            (0, 5, false) => code as isize + len as isize,
            _ => register(base, base_extended),
        };
        let stride = if long && (index != 4 || index_extended) { register(index, index_extended) << (sib >> 6) } else { 0 };
        Some(((base + displacement) as usize, stride, len))
    }
}
