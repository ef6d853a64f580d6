// All that must outlive a restart, in one file that is replaced as a whole.

struct OpenTrade {
   int    side;             // 1 long, -1 short, 0 none
   long   opened;           // open of the first bar held, UTC
   long   opened_bar;       // its number
   int    fills;
   double lots;             // held now
   double lots_in;          // opened in all fills
   double lots_out;         // closed in all fills
   double max_lots;
   double value_in;         // sum of lots x price
   double value_out;
   double price_profit;     // account currency, as all below
   double spread;
   double commission;
   double slippage;
   double swap;
};

struct DeskState {
   long       model;                     // MODEL_ID
   long       bar_time;                  // open of the last row, server clock
   long       bar_utc;
   long       rows;                      // rows so far
   bool       has_features;
   bool       has_book;
   bool       ended;                     // the model's own account is ruined or was stopped out
   CarriedBar carried;
   FeatureState features;
   MarketRow  before;                    // the rows of the last three bars
   MarketRow  previous;
   MarketRow  now;
   BookState  book;                      // the model's own account since the start
   ActionValues action;                  // decided on the last bar
   TargetValues target;                  // permitted weights of the last decision
   long       decided_for;               // bar_time of the last decision
   bool       sized;                     // wanted_lots belongs to it
   double     wanted_lots[NUM_TRADED];
   double     paper_lots[NUM_TRADED];    // held in a dry run
   OpenTrade  trades[NUM_TRADED];
   ulong      last_deal;                 // ticket of the last deal in the journal
   long       journal_from;              // server clock
   int        day;                       // broker's day of day_equity
   double     day_equity;                // account equity at the start of the day
   double     start_equity;              // account equity at the first start
   bool       day_closed;                // the kill switch has closed everything until the next day
   bool       stopped;                   // the kill switch has closed everything for good
};

DeskState State;

string StateFile() {
   return "MTQuant\\" + MODEL_NAME + "." + IntegerToString(InpMagic) + (InpDryRun ? ".dry" : "") + ".state";
}

// FNV-1a of bytes.
ulong Checksum(const uchar &bytes[]) {
   ulong sum = 0xcbf29ce484222325;
   int size = ArraySize(bytes);
   for(int i = 0; i < size; i++)
      sum = (sum ^ (ulong)bytes[i]) * 0x100000001b3;
   return sum;
}

void FreshState() {
   ZeroMemory(State);
   State.model = MODEL_ID;
   State.journal_from = (long)TimeTradeServer();
}

// Writes a new file and puts it in the place of the old one; a crash leaves one of the two whole.
bool SaveState() {
   string temporary = StateFile() + ".new";
   int file = FileOpen(temporary, FILE_WRITE | FILE_BIN);
   if(file == INVALID_HANDLE) {
      PrintFormat("%s cannot be written: error %d", temporary, GetLastError());
      return false;
   }
   uchar bytes[];
   bool whole = StructToCharArray(State, bytes) && FileWriteArray(file, bytes) == (uint)ArraySize(bytes) &&
                FileWriteLong(file, (long)Checksum(bytes)) == 8;
   FileFlush(file);
   FileClose(file);
   if(!whole || !FileMove(temporary, 0, StateFile(), FILE_REWRITE)) {
      PrintFormat("%s cannot be replaced: error %d", StateFile(), GetLastError());
      return false;
   }
   return true;
}

// Reads the state; a missing file is a fresh start, a damaged one or one of another model is refused.
bool LoadState() {
   FreshState();
   if(!FileIsExist(StateFile()))
      return true;
   int file = FileOpen(StateFile(), FILE_READ | FILE_BIN);
   if(file == INVALID_HANDLE) {
      PrintFormat("%s cannot be read: error %d", StateFile(), GetLastError());
      return false;
   }
   uchar fresh[];
   StructToCharArray(State, fresh);
   int size = ArraySize(fresh);
   uchar bytes[];
   uint count = FileReadArray(file, bytes, 0, size);
   bool whole = count == (uint)size && FileSize(file) == (ulong)(size + 8) && FileReadLong(file) == (long)Checksum(bytes);
   FileClose(file);
   DeskState found;
   if(!whole || !CharArrayToStruct(found, bytes) || found.model != MODEL_ID) {
      PrintFormat("%s is damaged or of another model; move it away to start afresh", StateFile());
      return false;
   }
   State = found;
   return true;
}
