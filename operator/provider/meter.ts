/** Counts of one kind of traffic: messages, connections now and at most, the busiest second. Pure, time is an argument. */

/** Arrivals of the last `lengthMs` and the most that ever fell into one half-open stretch [t, t + lengthMs). */
export interface SlidingWindow {
  /** Takes an arrival at `now` (monotonic ms) and tells how many the window that ends with it holds. */
  add(now: number): number;
  /** Arrivals after `now` − lengthMs. */
  count(now: number): number;
  busiest(): number;
}

/** Exact, not sampled: keeps one time per arrival inside the window. */
export function createSlidingWindow(lengthMs: number): SlidingWindow {
  let times: number[] = [];
  let head = 0;
  let most = 0;
  const expire = (now: number): void => {
    // Half-open: an arrival exactly lengthMs ago belongs to another window.
    while (head < times.length && (times[head] ?? 0) <= now - lengthMs) head++;
    if (head > 1024 && head * 2 > times.length) {
      times = times.slice(head);
      head = 0;
    }
  };
  return {
    add(now) {
      expire(now);
      times.push(now);
      most = Math.max(most, times.length - head);
      return times.length - head;
    },
    count(now) {
      expire(now);
      return times.length - head;
    },
    busiest: () => most,
  };
}

export interface MeterReading {
  readonly messages: number;
  readonly recipients: number;
  readonly bytes: number;
  /** Recipients that were refused, for now or for good. */
  readonly refused: number;
  readonly connections: { readonly open: number; readonly most: number; readonly total: number };
  /** Most messages in one half-open sliding second. */
  readonly busiestSecond: number;
}

export interface Meter {
  connected(): void;
  disconnected(): void;
  message(now: number, recipients: number, bytes: number): void;
  refused(): void;
  open(): number;
  read(): MeterReading;
}

export function createMeter(): Meter {
  const second = createSlidingWindow(1000);
  let [messages, recipients, bytes, refused] = [0, 0, 0, 0];
  let [open, most, total] = [0, 0, 0];
  return {
    connected() {
      open++;
      total++;
      most = Math.max(most, open);
    },
    disconnected: () => void open--,
    message(now, count, size) {
      messages++;
      recipients += count;
      bytes += size;
      second.add(now);
    },
    refused: () => void refused++,
    open: () => open,
    read: () => ({
      messages,
      recipients,
      bytes,
      refused,
      connections: { open, most, total },
      busiestSecond: second.busiest(),
    }),
  };
}
