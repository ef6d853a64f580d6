// The clock of the trade server, UTC, the broker's days, the nights that swap is charged for and the clock columns.
// The tables of clock_table.mqh hold the changes of each clock's offset; everything else follows from them.

#define DAY_SECONDS 86400
#define FIRST_MONDAY 3    // 1970-01-01 was a Thursday, three days after a Monday

// Seconds that a clock is ahead of UTC at a UTC time.
long OffsetAt(const int clock, const long utc) {
   int low = CLOCK_FIRST[clock];
   int high = CLOCK_FIRST[clock + 1];
   while(high - low > 1) {
      int middle = (low + high) / 2;
      if(utc >= CLOCK_CHANGE[middle])
         low = middle;
      else
         high = middle;
   }
   return CLOCK_OFFSET[low];
}

long FromUtc(const int clock, const long utc) {
   return utc + OffsetAt(clock, utc);
}

// The UTC time of a local time. In the hour that a clock shows twice it is the first, unless that is not after the UTC
// time before; a local time that a clock skips counts with the offset before the change.
long ToUtc(const int clock, const long local, const long before) {
   long first = local - OffsetAt(clock, local - DAY_SECONDS);
   long second = local - OffsetAt(clock, local + DAY_SECONDS);
   bool can_be_second = FromUtc(clock, second) == local;
   if(FromUtc(clock, first) == local)
      return first <= before && can_be_second && second > first ? second : first;
   return can_be_second ? second : first;
}

// The broker's day of a UTC time, days since 1970, on the clock that the model was trained on.
int BrokerDay(const long utc) {
   return (int)(FromUtc(CLOCK_OF_MODEL, utc) / DAY_SECONDS);
}

// Nights that are charged up to a day since a fixed one; triple_day counts from Monday as 0, -1 charges every night once.
double NightsUntil(const int day, const int triple_day) {
   int weeks = (day + FIRST_MONDAY) / 7;
   int weekday = (day + FIRST_MONDAY) % 7;
   double total = 7.0 * weeks;
   for(int passed = 0; passed < weekday; passed++) {
      if(triple_day < 0)
         total += 1.0;
      else if(passed == triple_day)
         total += 3.0;
      else if(passed < 5)
         total += 1.0;
   }
   return total;
}

// Nights charged for holding from the open of one bar to that of the next, both UTC.
float ChargedNights(const long before, const long utc, const int triple_day) {
   return (float)(NightsUntil(BrokerDay(utc), triple_day) - NightsUntil(BrokerDay(before), triple_day));
}

// Sine and cosine of the time of day and of the weekday, and whether Tokyo, London and New York are open.
void ClockColumns(const long utc, ClockValues &columns) {
   long day = utc / DAY_SECONDS;
   int minute = (int)((utc % DAY_SECONDS) / 60);
   int hour = minute / 60;
   double time_of_day = 2.0 * M_PI * minute / 1440.0;
   double weekday = 2.0 * M_PI * (double)((day + FIRST_MONDAY) % 7) / 7.0;
   columns.values[0] = (float)MathSin(time_of_day);
   columns.values[1] = (float)MathCos(time_of_day);
   columns.values[2] = (float)MathSin(weekday);
   columns.values[3] = (float)MathCos(weekday);
   for(int session = 0; session < 3; session++) {
      bool open = hour >= SESSION_FIRST[session] && hour < SESSION_LAST[session];
      columns.values[4 + session] = open ? 1.0f : 0.0f;
   }
}
