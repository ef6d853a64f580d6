// MTQuant: trades a hierarchy of agents trained with mtquant-jax. README.md beside it says how to install it.

#property copyright "mtquant-jax"
#property version   "1.00"
#property description "Trades a portfolio of agents trained with mtquant-jax, bar by bar."
#property description "Starts as a dry run on demo accounts; see README.md."

#resource "decision.onnx" as uchar DecisionModel[]

#include "numbers.mqh"
#include "model.mqh"
#include "clock_table.mqh"
#include "calendar.mqh"
#include "settings.mqh"
#include "features.mqh"
#include "account_view.mqh"
#include "risk.mqh"
#include "order_size.mqh"
#include "symbols.mqh"
#include "bars.mqh"
#include "decision.mqh"
#include "state.mqh"
#include "desk.mqh"
#include "golden.mqh"
#include "golden_check.mqh"
#include "guard.mqh"
#include "orders.mqh"
#include "journal.mqh"

bool Ready = false;            // history is read and the model is up to date
bool Locked = false;           // this chart holds the magic number
bool JournalDue = true;        // deals may have been made since the last look at the history
long Checked = 0;              // the last bar whose rows are read, server clock
string LastTrouble = "";

void Trouble(const string what) {
   if(what != "" && what != LastTrouble)
      Print(what);
   LastTrouble = what;
}

bool AreInputsGood() {
   string problem = "";
   if(InpCapitalShare <= 0.0 || InpCapitalShare > 1.0)
      problem = "InpCapitalShare must be above 0 and at most 1";
   else if(InpMagic <= 0)
      problem = "InpMagic must be above 0";
   else if(InpBarDelay < 0 || InpOrderWindow <= InpBarDelay || InpBarDelay >= PeriodSeconds(MODEL_TIMEFRAME))
      problem = "InpBarDelay must be shorter than a bar and than InpOrderWindow";
   else if(InpRetries < 0 || InpRetries > 10 || InpDeviation < 0)
      problem = "InpRetries must be from 0 to 10, InpDeviation at least 0";
   else if(InpDayLoss < 0.0 || InpEquityLoss < 0.0 || InpEmergencyStop < 0.0 || InpEmergencyStop >= 1.0)
      problem = "InpDayLoss, InpEquityLoss and InpEmergencyStop must not be negative";
   else if(InpWarmUpBars < MODEL_LOOK_BACK)
      problem = StringFormat("InpWarmUpBars must be at least %d, the bars that features look back", MODEL_LOOK_BACK);
   if(problem != "")
      Print(problem);
   return problem == "";
}

bool IsAccountGood() {
   if(AccountInfoString(ACCOUNT_CURRENCY) != MODEL_CURRENCY) {
      PrintFormat("The account is in %s; the model was trained in %s", AccountInfoString(ACCOUNT_CURRENCY), MODEL_CURRENCY);
      return false;
   }
   if(!IsAllowedAccount()) {
      Print("This is not a demo account; give its login as InpRealLogin to trade on it");
      return false;
   }
   return true;
}

// The offset of the server's clock as the computer sees it; a wrong clock would move every session and day.
bool IsClockGood() {
   if(MQLInfoInteger(MQL_TESTER))
      return true;   // there both clocks are one
   long server = (long)TimeTradeServer();
   long ahead = server - (long)TimeGMT();
   long expected = server - ToUtc(InpServerClock, server, 0);
   if(MathAbs((double)(ahead - expected)) <= 600.0)
      return true;
   PrintFormat("The server's clock is %.1f hours ahead of UTC, but InpServerClock says %.1f; choose the right clock",
               ahead / 3600.0, expected / 3600.0);
   return false;
}

string LockName() {
   return "MTQuant.lock." + IntegerToString(InpMagic);
}

// One chart for each magic number; the terminal forgets the lock when it closes.
bool TakeLock() {
   double chart = (double)(ChartID() % 1000000007);
   if(GlobalVariableCheck(LockName()) && GlobalVariableGet(LockName()) != chart) {
      Print("Another chart trades with the magic number " + IntegerToString(InpMagic));
      return false;
   }
   GlobalVariableTemp(LockName());
   Locked = GlobalVariableSet(LockName(), chart) > 0;
   return Locked;
}

int OnInit() {
   if(!AreInputsGood())
      return INIT_PARAMETERS_INCORRECT;
   if(!OpenDecision() || !GoldenCheck()) {
      CloseDecision();
      return INIT_FAILED;
   }
   FolderCreate("MTQuant");
   if(!IsAccountGood() || !ResolveSymbols(InpSuffix, InpAliases) || !IsClockGood() || !TakeLock() || !LoadState()) {
      CloseDecision();
      return INIT_FAILED;
   }
   if(InpClearStop)
      ClearStop();
   PrintFormat("MTQuant %s: golden check passed; %s with %.0f %% of equity", MODEL_NAME,
               InpDryRun ? "dry run" : "trading", 100.0 * InpCapitalShare);
   return EventSetTimer(1) ? INIT_SUCCEEDED : INIT_FAILED;
}

void OnDeinit(const int reason) {
   EventKillTimer();
   if(Ready)
      SaveState();
   CloseDecision();
   if(Locked)
      GlobalVariableDel(LockName());
   PrintFormat("MTQuant %s: stopped for reason %d; positions stay as they are", MODEL_NAME, reason);
}

// Reads all finished bars since the last row. The first start reads InpWarmUpBars and decides at the last of them.
bool CatchUp(const long last) {
   long seconds = PeriodSeconds(MODEL_TIMEFRAME);
   bool fresh = !State.has_features;
   long from = fresh ? last - 2 * InpWarmUpBars * seconds : State.bar_time + 1;   // half of the hours have no bars
   if(!LoadBars(from, last))
      return false;
   RawBar row;
   long rows = 0;
   while(NextRow(State.carried, row)) {
      if(!IsComplete(State.carried))
         continue;   // some symbol has no bar yet
      long utc = ToUtc(InpServerClock, row.time, State.bar_utc);
      rows++;
      if(!AdvanceDesk(State, row, utc, State.has_book || IsLastRow()))
         Print("Nothing could be decided at this bar: the account is held");
   }
   if(fresh && State.rows < MODEL_LOOK_BACK) {
      Trouble(StringFormat("There are %d rows of history; features look back %d bars", (int)State.rows, MODEL_LOOK_BACK));
      FreshState();
      return false;
   }
   return rows == 0 || SaveState();
}

// Wanted lots of the newest decision, once: a restart within the bar goes on with the same ones.
void SizeOrders() {
   double held[NUM_SYMBOLS];
   double lots[NUM_SYMBOLS];
   ArrayInitialize(held, 0.0);
   ArrayInitialize(lots, 0.0);
   for(int i = 0; i < NUM_TRADED; i++)
      held[i] = HeldLots(i);
   double capital = InpCapitalShare * AccountInfoDouble(ACCOUNT_EQUITY);
   SizeLots(State, capital, held, Facts, lots);
   for(int i = 0; i < NUM_TRADED; i++) {
      State.wanted_lots[i] = lots[i];
      if(MathAbs(lots[i] - held[i]) < 0.5 * Facts[i].volume_step)
         Note(i, lots[i], held[i], 0.0, "held");
   }
   State.sized = true;
   ForgetProgress();
   SaveState();
}

// Everything that happens: called once a second and on every tick of the chart.
void Look() {
   if(!TerminalInfoInteger(TERMINAL_CONNECTED)) {
      Trouble("The terminal is not connected");
      return;
   }
   long now = (long)TimeTradeServer();
   long last = LastFinished(now);
   long open = last + PeriodSeconds(MODEL_TIMEFRAME);
   if(Checked < last && now >= open + InpBarDelay) {
      if(!CatchUp(last)) {
         Trouble("History is not complete yet; trying again");
         return;
      }
      if(State.bar_time == last || now >= open + 60)
         Checked = last;   // where no symbol traded there is no row
      JournalDue = true;   // also of deals whose message was lost
      if(!Ready)
         ReconcilePositions();
      Ready = true;
      Trouble("");
   }
   if(!Ready)
      return;
   if(MustBeFlat())
      CloseAll();
   else if(State.decided_for == last && now < open + InpOrderWindow) {
      if(!State.sized)
         SizeOrders();
      MoveAll();
   }
   if(JournalDue) {
      JournalDue = false;
      UpdateJournal();
   }
}

void OnTradeTransaction(const MqlTradeTransaction &transaction, const MqlTradeRequest &request,
                        const MqlTradeResult &result) {
   if(transaction.type == TRADE_TRANSACTION_DEAL_ADD)
      JournalDue = true;
}

void OnTick() {
   Look();
}

void OnTimer() {
   Look();
}
