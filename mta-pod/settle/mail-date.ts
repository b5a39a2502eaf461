/** Times as RFC 5322 writes them, in UTC, from milliseconds; pure: this room has no clock. Never fails. */

const days = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"] as const;
const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"] as const;
const dayMs = 86_400_000;

/** @example mailDate(0) === "Thu, 01 Jan 1970 00:00:00 +0000" */
export function mailDate(time: number): string {
  const day = Math.floor(time / dayMs);
  const seconds = Math.floor((time - day * dayMs) / 1000);
  const { year, month, date } = civil(day);
  const clock = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60].map(two).join(":");
  const weekday = days[((day % 7) + 7) % 7] ?? "";
  return `${weekday}, ${two(date)} ${months[month] ?? ""} ${year} ${clock} +0000`;
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}

/** Gregorian date of a day since 1970: counted in eras of 400 years that begin on 1 March (Hinnant's days_from_civil). */
function civil(day: number): { year: number; month: number; date: number } {
  const shifted = day + 719_468;
  const era = Math.floor(shifted / 146_097);
  const dayOfEra = shifted - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra -
      Math.floor(dayOfEra / 1460) +
      Math.floor(dayOfEra / 36_524) -
      Math.floor(dayOfEra / 146_096)) /
      365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const shiftedMonth = Math.floor((5 * dayOfYear + 2) / 153);
  const date = dayOfYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1;
  const month = (shiftedMonth + 2) % 12;
  return { year: yearOfEra + era * 400 + (month < 2 ? 1 : 0), month, date };
}
